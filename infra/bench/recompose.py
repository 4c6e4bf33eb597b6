"""How near one file comes to its own preview: our stack, our whole render, and psd-tools in the two ways it is used.

Each function runs in a limited child process and returns what can be pickled. Errors are those of
``pipelines.flatten.check``: the mean over the channels in 1/255, over white and black where the preview has alpha.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from psd_tools import PSDImage

from infra.bench.features import features_of, overflows
from pipelines import formats
from pipelines.errors import Rejected
from pipelines.flatten import FlattenConfig, lower, render_tree
from pipelines.flatten.check import check, measure
from pipelines.formats import Document, Group, ReadLimits
from schemas.compositing import Placed, Rgba, composite, on_solid
from schemas.design import LayerKind
from schemas.geometry import Box

CONFIG = FlattenConfig(min_layers=1, min_side=1, max_side=16_383)
"""No file is too small or scaled; the limits of the error are the build's own."""


@dataclass(frozen=True)
class Error:
    """A mean absolute error and its 99th percentile, in 1/255."""

    mae: float
    p99: float

    @property
    def true(self) -> bool:
        return self.mae < CONFIG.max_mae and self.p99 < CONFIG.max_p99


@dataclass
class Result:
    """What was found of one file. ``ours``, ``render``, ``document``, ``layers``: the errors of our stack, of our whole
    render, of psd-tools' whole document and of its layers one over the other; None where there is none, with the
    reason in ``problems``. ``foreground`` and ``reusable`` count our layers. ``message``: why the file is not kept.
    """

    path: str
    format: str
    eligible: bool = False
    features: frozenset[str] = frozenset()
    ours: Error | None = None
    render: Error | None = None
    document: Error | None = None
    layers: Error | None = None
    foreground: int = 0
    reusable: int = 0
    message: str = ""
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def true(self) -> bool:
        return self.ours is not None and self.ours.true


@dataclass(frozen=True)
class Described:
    """Whether a file is eligible, its features, and why our reader refuses it (empty where it does not)."""

    eligible: bool
    features: frozenset[str]
    problem: str = ""


def describe_file(path: Path, format: str) -> Described:
    """What a file is, whether or not we can read it: psd-tools answers for one that we cannot."""
    try:
        document = formats.read(path, format, ReadLimits())
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in our reader costs that file its row
        problem = str(error) if isinstance(error, Rejected) else f"{type(error).__name__}: {error}"
        if not _peer_eligible(path, format):
            return Described(False, frozenset(), problem)
        return Described(True, features_of(path, format, None), problem)
    if not eligible(document):
        return Described(False, frozenset())
    features = features_of(path, format, document)
    return Described(True, features | {"overflow"} if overflows(document) else features)


def eligible(document: Document) -> bool:
    """At least one leaf layer, and an embedded preview that is not one flat colour."""
    if document.preview is None:
        return False
    leaves = any(not isinstance(node, Group) for _, node in document.walk())
    return leaves and not bool((document.preview == document.preview[0, 0]).all())


def _peer_eligible(path: Path, format: str) -> bool:
    """The same by psd-tools, for a file that our reader refuses."""
    if format != "psd":
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            psd = PSDImage.open(path)
            shown = psd.topil() if psd.has_preview() else None
        except Exception:  # noqa: BLE001 - no reader opens it
            return False
        leaves = any(not layer.is_group() for layer in psd.descendants())
    return leaves and shown is not None and bool(np.ptp(np.asarray(shown.convert("RGBA")), axis=(0, 1)).any())


@dataclass(frozen=True)
class Ours:
    """What our stack makes of a file: its error, its foreground layers and how many of them are reusable."""

    error: Error
    foreground: int
    reusable: int
    message: str


def measure_stack(path: Path, format: str, picture: Path | None) -> Ours:
    """Our flat stack against the preview; a ``picture`` of where they differ is written for a file that is off."""
    document = formats.read(path, format, ReadLimits())
    stack = lower(document, CONFIG)
    found = stack.recomposition
    message = ""
    try:
        check(document, stack, CONFIG)
    except Rejected as error:
        message = str(error)
    if message and picture is not None:
        _compare(document, stack.composite[stack.visible.slices], picture)
    front = [layer for layer in stack.layers if layer.kind is not LayerKind.BACKGROUND]
    return Ours(Error(found.mae, found.p99), len(front), sum(layer.reusable for layer in front), message)


def measure_render(path: Path, format: str) -> Error:
    """Our whole-document render against the preview."""
    document = formats.read(path, format, ReadLimits())
    return _error(document, render_tree(document))


def measure_peer_document(path: Path, format: str) -> Error:
    """psd-tools' whole-document composite against the preview."""
    return _peer(path, format, _whole)


def measure_peer_layers(path: Path, format: str) -> Error:
    """psd-tools' ``composite()`` of each visible leaf layer, one over the other, against the preview."""
    return _peer(path, format, _stacked)


def _peer(path: Path, format: str, draw: Callable[[PSDImage], Rgba]) -> Error:
    document = formats.read(path, format, ReadLimits())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn = draw(PSDImage.open(path))
    return _error(document, drawn)


def _whole(psd: PSDImage) -> Rgba:
    return np.asarray(psd.composite(ignore_preview=True).convert("RGBA"))


def _stacked(psd: PSDImage) -> Rgba:
    placed: list[Placed] = []
    for layer in psd.descendants():
        if layer.is_group() or not layer.is_visible() or layer.clipping:  # a clipped layer is drawn with its base
            continue
        image = layer.composite()
        x0, y0, x1, y1 = (int(side) for side in layer.bbox)
        if image is None or x1 <= x0 or y1 <= y0:
            continue
        pixels = np.asarray(image.convert("RGBA"))
        placed.append((pixels, Box(x0, y0, x0 + pixels.shape[1], y0 + pixels.shape[0])))
    return composite(placed, Box(0, 0, psd.width, psd.height))


def _error(document: Document, shown: Rgba) -> Error:
    preview = document.preview
    if preview is None:
        raise ValueError("it has no preview")
    if shown.shape != preview.shape:
        raise ValueError(f"the picture has shape {shown.shape}, the preview {preview.shape}")
    found = measure(shown, preview, preview=True, on_white=document.opaque_on_white)
    return Error(found.mae, found.p99)


def _compare(document: Document, shown: Rgba, out: Path) -> None:
    """The preview, our composite and eight times their difference, side by side on white."""
    if document.preview is None or document.preview.shape != shown.shape:
        return
    expected, ours = on_solid(document.preview, 255), on_solid(shown, 255)
    apart = (np.abs(expected - ours) * 8).clip(0, 255)
    image = Image.fromarray(np.concatenate([expected, ours, apart], axis=1).astype(np.uint8), "RGB")
    image.thumbnail((3072, 1024))
    out.parent.mkdir(parents=True, exist_ok=True)
    image.save(out)
