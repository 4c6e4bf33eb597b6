"""A well-formed PSD that is small on disk and needs more memory than a test allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from psd_tools import PSDImage


def write_hungry(path: Path, side: int = 5000) -> None:
    """A document of ``side`` x ``side`` px with two flat layers: small on disk, gigabytes when composited."""
    image = Image.fromarray(np.full((side, side, 4), 200, np.uint8), "RGBA")
    document = PSDImage.new("RGB", (side, side))
    for name in ("one", "two"):
        document.create_pixel_layer(image, name=name)
    document.save(path)
