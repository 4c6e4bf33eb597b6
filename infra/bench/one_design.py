"""One file extracted by us, and by the plain psd-tools loop that people write: what ``infra.bench.extract`` times.

Everything here runs in a child process.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import pkgutil
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from psd_tools import PSDImage

import pipelines.flatten
import pipelines.formats
from infra.bench.hooks import Timers
from pipelines import formats
from pipelines.errors import Rejected
from pipelines.extract import ExtractConfig, ImageConfig, extract_file
from pipelines.flatten import FlattenConfig
from pipelines.formats import Document, Fetched, Group, Leaf, Node, ReadLimits
from schemas import images
from schemas.compositing import Rgba
from schemas.geometry import Box

CONFIG = ExtractConfig(read=ReadLimits(), extract=FlattenConfig(min_layers=1, min_side=1), image=ImageConfig())
_REST = "record"
_LOWERING = ("lower", "weights", "bake", "backdrop", "blend", "clean", "canvas", "planes", "stack", "scale", "colour")
_STAGES = {
    "pipelines.formats": "parse",
    "pipelines.formats.psd_pixels": "decode",
    "pipelines.formats.psd_colours": "decode",
    "pipelines.formats.psd_masks": "decode",
    "pipelines.formats.raster": "decode",
    "pipelines.formats.icc": "decode",
    "psd_tools.psd.layer_and_mask:ChannelData.get_data": "decode",
    "psd_tools.psd.image_data:ImageData.get_data": "decode",
    "pipelines.formats.psd_vector": "draw",
    "pipelines.formats.adjustments": "lower",
    "pipelines.flatten": "draw",
    **{f"pipelines.flatten.{name}": "lower" for name in _LOWERING},
    "pipelines.flatten:lower": "lower",
    "pipelines.flatten:flatten": "lower",
    "pipelines.flatten.planes:composite_banded": "check",
    "pipelines.flatten.check": "check",
    "pipelines.flatten.render": "check",
    "schemas.images": "encode",
}
STAGES = ("parse", "decode", "draw", "lower", "check", "encode", _REST)


@dataclass(frozen=True)
class Timed:
    """CPU seconds of one file, the median of the repeats: ours, psd-tools, and psd-tools where its whole-document
    composite may return the embedded preview. ``excluded``: why it cannot be compared.
    """

    ours: float = 0.0
    peer: float = 0.0
    lazy_peer: float = 0.0
    excluded: str = ""


def time_file(path: Path, format: str, repeats: int) -> Timed:
    """Time a file with ours and the peer in turn, after one call of each that is not counted."""
    gc.collect()
    fetched = _fetched(path, format)
    try:
        extract_file(fetched, CONFIG)
    except Rejected as error:
        return Timed(excluded=f"ours: {error.code}")
    except Exception as error:  # noqa: BLE001 - a reader's fault costs this file its row
        return Timed(excluded=f"ours: {type(error).__name__}")
    if format != "psd":
        return Timed(excluded="psd-tools: another format")
    try:
        plain_loop(path, ignore_preview=True)
    except Exception as error:  # noqa: BLE001 - the peer may fail on anything
        return Timed(excluded=f"psd-tools: {type(error).__name__}")
    jobs: tuple[Callable[[], object], ...] = (
        lambda: extract_file(fetched, CONFIG),
        lambda: plain_loop(path, ignore_preview=True),
        lambda: plain_loop(path, ignore_preview=False),
    )
    seconds: list[list[float]] = [[], [], []]
    for _ in range(repeats):
        for job, times in zip(jobs, seconds, strict=True):
            times.append(_cpu(job))
    ours, peer, lazy = (statistics.median(times) for times in seconds)
    return Timed(ours, peer, lazy)


def _cpu(job: Callable[[], object]) -> float:
    began = time.process_time()
    job()
    return time.process_time() - began


def plain_loop(path: Path, *, ignore_preview: bool) -> int:
    """Open, ``composite()`` each visible leaf layer, then the whole document, all encoded; the number of pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        psd = PSDImage.open(path)
        count = 0
        for layer in psd.descendants():
            if layer.is_group() or not layer.is_visible() or layer.clipping:  # a clipped one is drawn with its base
                continue
            image = layer.composite()
            if image is not None and image.width and image.height:
                _save(np.asarray(image.convert("RGBA")))
                count += 1
        _save(np.asarray(psd.composite(ignore_preview=ignore_preview).convert("RGBA")))
        return count + 1


def _save(pixels: Rgba) -> bytes:
    return images.encode(pixels, CONFIG.image.codec, CONFIG.image.effort)


_timers: list[Timers] = []


def stages_of(path: Path, format: str) -> dict[str, float]:
    """CPU seconds of one extraction by stage. The process that has called it is no good for timing afterwards."""
    if not _timers:
        for package in (pipelines.formats, pipelines.flatten):
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)
        _timers.append(Timers(_REST))
        _timers[0].hook(_STAGES)
    timers = _timers[0]
    fetched = _fetched(path, format)
    extract_file(fetched, CONFIG)
    timers.seconds.clear()
    timers.start()
    extract_file(fetched, CONFIG)
    timers.stop()
    return dict(timers.seconds)


@dataclass(frozen=True)
class Memory:
    """Bytes: the peak above the idle process, what the visible layers decode to, and the canvas as RGBA."""

    peak: int
    layers: int
    canvas: int


def memory_of(path: Path, format: str, warm: Path) -> Memory:
    """The peak memory of one extraction in a process that has extracted nothing but the small file ``warm`` before."""
    extract_file(_fetched(warm, "psd"), CONFIG)
    fetched = _fetched(path, format)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts again from here
    idle = _status("VmRSS")
    sample, _ = extract_file(fetched, CONFIG)
    peak = _status("VmHWM") - idle
    canvas = sample.design.canvas
    return Memory(peak, decoded_bytes(formats.read(path, format, CONFIG.read)), canvas.width * canvas.height * 4)


def decoded_bytes(document: Document) -> int:
    """What the pixels of the visible leaves take, with alpha."""
    channels = document.space.channels + 1
    return sum(leaf.box.width * leaf.box.height * channels for leaf in _leaves(document.nodes))


def _leaves(nodes: tuple[Node, ...]) -> Iterator[Leaf]:
    for node in nodes:
        if node.visible and isinstance(node, Group):
            yield from _leaves(node.children)
        elif node.visible and isinstance(node, Leaf):
            yield node


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _fetched(path: Path, format: str) -> Fetched:
    data = path.read_bytes()
    return Fetched(path, format, hashlib.sha256(data).hexdigest(), len(data))


def small_design(path: Path) -> None:
    """Write a small PSD that every stage has something to do with: two layers over a ground."""
    rows = np.linspace(0, 255, 64, dtype=np.uint8)
    ground = np.empty((64, 64, 4), np.uint8)
    ground[..., :3], ground[..., 3] = rows[:, None, None], 255
    half = ground.copy()
    half[..., 3] = 128
    nodes = (
        Leaf("ground", box=Box(0, 0, 64, 64), pixels=lambda: ground),
        Leaf("half", box=Box(8, 8, 72, 72), pixels=lambda: half, opacity=0.5),
    )
    document = Document(64, 64, nodes)
    formats.write(Document(64, 64, nodes, preview=pipelines.flatten.render_tree(document)), path)
