"""Licensed synthetic designs: seeded, varied, layered, written as PSD, OpenRaster and layer folders with a manifest."""

from __future__ import annotations

from pipelines.synth.writer import LICENSOR, Profile, synthesise

__all__ = ["LICENSOR", "Profile", "synthesise"]
