"""User interface layouts: phone (phones.py) and desktop (desktops.py) screens with many small layers."""

from __future__ import annotations

from pipelines.synth.desktops import dashboard, landing
from pipelines.synth.phones import feed, player

LAYOUTS = {"feed": feed, "dashboard": dashboard, "landing": landing, "player": player}
SIZES = ((390, 844), (1200, 760), (1120, 800), (412, 892), (768, 1024), (1024, 720), (480, 854), (1200, 860))
FITS = {"feed": (0, 3, 6, 4), "dashboard": (1, 2, 5, 7), "landing": (1, 2, 5, 7, 4), "player": (0, 3, 6, 4)}
"""The sizes (indices) that a layout is made for."""
