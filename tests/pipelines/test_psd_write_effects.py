"""What a PSD is written with reads back the same: effects, fills, blending options, artboards."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors import UsageError
from pipelines.flatten import render_tree
from pipelines.formats import ReadLimits, read, write
from pipelines.formats.style import (
    Bevel,
    Blending,
    Glow,
    Gradient,
    Overlay,
    PathStroke,
    Pattern,
    Range,
    Satin,
    Shadow,
    Solid,
    Stroke,
    Texture,
)
from pipelines.formats.tree import Adjustment, Document, Group, Leaf, Mask, Space
from schemas.compositing import on_solid
from schemas.geometry import Box

SIDE = 40
CURVE = (np.linspace(0, 1, 256) ** 2).astype(np.float32)
RAMP = np.array([[1, 0, 0, 1], [0.2, 0.4, 0.6, 0.2], [0, 0, 1, 1]], np.float32)
TILE = np.arange(5 * 7 * 4, dtype=np.uint8).reshape(5, 7, 4) + 80
GRADIENT = Gradient(RAMP, "linear", 30.0, 1.2, (0.1, -0.2))
WHITE, BLACK = Solid((1.0, 1.0, 1.0)), Solid((0.0, 0.0, 0.0))
LIGHT = Overlay(paint=WHITE, blend_mode="screen", opacity=0.75)
SHADE = Overlay(paint=BLACK, blend_mode="multiply", opacity=0.6)
EFFECTS = {
    "shadow": Shadow(colour=(0.2, 0.4, 0.6), angle=100.0, distance=5.0, size=6.0, spread=0.2, blend_mode="multiply"),
    "shadow below": Shadow(colour=(0.0, 0.0, 0.0), opacity=0.4, noise=0.1, contour=CURVE, concealed=False),
    "inner shadow": Shadow(colour=(1.0, 0.0, 0.0), inner=True, angle=-90.0, distance=2.0, size=4.0, spread=0.5),
    "glow": Glow(paint=Solid((1.0, 1.0, 0.0)), size=5.0, spread=0.1, range=0.4, blend_mode="screen"),
    "precise glow": Glow(paint=Gradient(RAMP), size=4.0, precise=True, noise=0.2, jitter=0.3),
    "inner glow": Glow(paint=Gradient(RAMP), inner=True, size=5.0, from_centre=True, contour=CURVE),
    "colour": Overlay(paint=Solid((0.6, 0.2, 0.0)), opacity=0.4, blend_mode="linear-dodge"),
    "gradient": Overlay(paint=GRADIENT, blend_mode="vivid-light"),
    "radial": Overlay(paint=replace(GRADIENT, kind="radial", aligned=False)),
    "pattern": Overlay(paint=Pattern(TILE, 1.5, 0.0, (3.0, 4.0)), blend_mode="darker-color"),
    "satin": Satin(colour=(0.0, 0.0, 0.0), angle=40.0, distance=4.0, size=5.0, invert=False, contour=CURVE),
    "stroke": Stroke(paint=Solid((0.0, 1.0, 0.0)), size=3.0, position="outside", overprint=True),
    "gradient stroke": Stroke(paint=GRADIENT, size=2.0, position="center"),
    "pattern stroke": Stroke(paint=Pattern(TILE), size=4.0, position="inside"),
    "bevel": Bevel(highlight=LIGHT, shade=SHADE, kind="emboss", depth=1.5, up=False, size=4.0, soften=2.0, gloss=CURVE),
    "chisel": Bevel(highlight=LIGHT, shade=SHADE, kind="pillow", technique="chisel-hard", angle=40.0, altitude=60.0),
    "texture": Bevel(
        highlight=LIGHT,
        shade=SHADE,
        technique="chisel-soft",
        contour=CURVE,
        contour_range=0.3,
        texture=Texture(pattern=Pattern(TILE), depth=0.5, invert=True),
    ),
}
BLENDINGS = {
    "knockout": Blending(knockout="deep"),
    "shallow": Blending(knockout="shallow"),
    "channels": Blending(channels=(True, False, True)),
    "own": Blending(own=(Range(None, (0.2, 0.4), (0.8, 0.9)), Range(2, (0.1, 0.1)))),
    "below": Blending(below=(Range(1, (0.0, 0.2), (0.6, 1.0)),)),
    "alone": Blending(clipped_as_group=False),
    "interior": Blending(interior_as_group=True),
    "masked": Blending(mask_hides_effects=True),
}


def leaf(**given: Any) -> Leaf:
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (20, 24, 4)).astype(np.uint8)
    return Leaf(**{"name": "layer", "box": Box(4, 6, 28, 26), "pixels": lambda: pixels, **given})


def document(*nodes: Any, **given: Any) -> Document:
    made = Document(SIDE, SIDE, nodes, **given)
    preview = np.full((SIDE, SIDE, 4), 255, np.uint8)
    preview[0, 0] = 0
    return replace(made, preview=preview)


def back(made: Document, tmp_path: Path) -> Document:
    write(made, tmp_path / "a.psd")
    return read(tmp_path / "a.psd", "psd", ReadLimits())


def assert_same(found: Any, wanted: Any, where: str = "") -> None:
    """Equal to what a file can say: opacities in 1/255 or 1/100, ramps whatever the number of their samples."""
    assert type(found) is type(wanted), where
    if is_dataclass(wanted):
        for part in fields(wanted):
            assert_same(getattr(found, part.name), getattr(wanted, part.name), f"{where}.{part.name}")
    elif isinstance(wanted, np.ndarray) and wanted.dtype == np.float32 and wanted.ndim == 2:
        at = np.linspace(0, 1, 301)
        for column in range(wanted.shape[1]):
            ours, theirs = (np.interp(at, np.linspace(0, 1, len(r)), r[:, column]) for r in (found, wanted))
            assert np.abs(ours - theirs).max() < 0.003, where
    elif isinstance(wanted, np.ndarray):
        assert found.shape == wanted.shape, where
        assert np.abs(found.astype(float) - wanted).max() <= 0.003, where
    elif isinstance(wanted, tuple):
        assert len(found) == len(wanted), where
        for i, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
            assert_same(ours, theirs, f"{where}[{i}]")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=0.002), where
    else:
        assert found == wanted, where


@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_reads_back(name: str, tmp_path: Path) -> None:
    (found,) = back(document(leaf(style=(EFFECTS[name],))), tmp_path).nodes
    assert not found.undrawn
    assert_same(found.style, (EFFECTS[name],))


def test_several_effects_read_back_in_their_order(tmp_path: Path) -> None:
    kinds = ("shadow", "shadow below", "glow", "pattern", "gradient", "radial", "colour", "satin", "stroke", "bevel")
    style = tuple(EFFECTS[kind] for kind in kinds)
    group = Group("group", style=style[:2], isolated=True, children=(leaf(style=style, fill_opacity=0.2),))
    (found,) = back(document(group), tmp_path).nodes
    assert isinstance(found, Group)
    (child,) = found.children
    assert child.fill_opacity == 51 / 255

    def kept(some: Any) -> list[str]:
        return sorted(repr((type(effect).__name__, effect)) for effect in some if isinstance(effect, Shadow))

    assert len(child.style) == len(style)
    assert [effect.opacity for effect in found.style if isinstance(effect, Shadow)] == pytest.approx([1.0, 0.4])
    assert kept(child.style) == kept(found.style)


@pytest.mark.parametrize("name", BLENDINGS)
def test_blending_options_read_back(name: str, tmp_path: Path) -> None:
    mask = Mask(Box(4, 6, 9, 9), np.full((3, 5), 90, np.uint8))
    (found,) = back(document(leaf(blending=BLENDINGS[name], mask=mask)), tmp_path).nodes
    assert_same(found.blending, BLENDINGS[name])


@pytest.mark.parametrize(
    "fill", [Solid((0.2, 0.4, 0.6)), GRADIENT, replace(GRADIENT, kind="radial"), Pattern(TILE, 1.0, 0.0, (1.0, 2.0))]
)
def test_a_fill_over_all_stays_a_fill(fill: Any, tmp_path: Path) -> None:
    full = np.full((SIDE, SIDE, 4), 255, np.uint8)
    (found,) = back(document(Leaf("fill", box=Box(0, 0, SIDE, SIDE), pixels=lambda: full, fill=fill)), tmp_path).nodes
    assert isinstance(found, Leaf)
    assert_same(found.fill, fill)
    assert found.mask is None


@pytest.mark.parametrize("fill", [Solid((0.2, 0.4, 0.6)), GRADIENT, replace(GRADIENT, kind="diamond"), Pattern(TILE)])
def test_a_fill_in_a_shape_looks_the_same(fill: Any, tmp_path: Path) -> None:
    mask = Mask(Box(10, 0, 30, 20), np.full((20, 20), 180, np.uint8), 0)
    shape = np.zeros((20, 24, 4), np.uint8)
    shape[2:18, 3:20, 3] = 200
    for given in (None, mask):
        made = document(leaf(fill=fill, pixels=lambda: shape, mask=given))
        drawn, shown = render_tree(made), render_tree(back(made, tmp_path))
        assert np.abs(on_solid(drawn, 0) - on_solid(shown, 0)).max() <= 2


def test_an_artboard_reads_back(tmp_path: Path) -> None:
    board = Group("board", isolated=True, clip=Box(2, 3, 30, 33), children=(leaf(),))
    (found,) = back(document(board), tmp_path).nodes
    assert isinstance(found, Group)
    assert found.clip == board.clip
    assert [child.name for child in found.children] == ["layer"]


def test_the_same_document_gives_the_same_bytes_and_a_pattern_once(tmp_path: Path) -> None:
    made = document(leaf(style=(EFFECTS["pattern"], EFFECTS["texture"])), leaf(style=(EFFECTS["pattern stroke"],)))
    write(made, tmp_path / "a.psd")
    write(made, tmp_path / "b.psd")
    data = (tmp_path / "a.psd").read_bytes()
    assert data == (tmp_path / "b.psd").read_bytes()
    assert data.count("Pattern".encode("utf-16-be")) == 1 + 3  # stored once, named by three effects


def test_another_space_is_written_in_srgb(tmp_path: Path) -> None:
    inverted = Space("inverted", 4, lambda codes: np.ascontiguousarray(255 - codes[..., :3]))
    pixels = np.full((20, 24, 5), (10, 20, 30, 40, 255), np.uint8)
    style = (Overlay(paint=Solid((1.0, 0.8, 0.6, 0.0))),)
    made = document(leaf(pixels=lambda: pixels, style=style), space=inverted)
    (found,) = back(made, tmp_path).nodes
    assert isinstance(found, Leaf)
    assert found.pixels()[0, 0].tolist() == [245, 235, 225, 255]
    assert_same(found.style, (Overlay(paint=Solid((0.0, 0.2, 0.4))),))


@pytest.mark.parametrize("suffix", [".psd", ".ora", ""])
def test_what_a_format_cannot_say_is_refused_by_name(suffix: str, tmp_path: Path) -> None:
    pen = PathStroke(coverage=np.zeros((20, 24), np.uint8), paint=BLACK)
    refused = {"adjustment:curves": Adjustment("node", kind="curves"), "vector-stroke": leaf(stroke=lambda: pen)}
    if suffix != ".psd":
        refused |= {
            "drop-shadow": leaf(style=(EFFECTS["shadow"],)),
            "gradient-overlay": leaf(style=(EFFECTS["gradient"],)),
            "gradient-fill": leaf(fill=GRADIENT),
            "blending-options": leaf(blending=BLENDINGS["knockout"]),
            "fill-opacity": leaf(fill_opacity=0.5, blend_mode="color-dodge"),
        }
    for name, node in refused.items():
        with pytest.raises(UsageError, match=name):
            write(document(Group("in", children=(node,))), tmp_path / f"{name[:4]}{suffix}")


@pytest.mark.parametrize("kind", ["ora", "folder"])
def test_plain_formats_draw_what_they_can(kind: str, tmp_path: Path) -> None:
    inverted = Space("inverted", 3, lambda codes: 255 - codes)
    board = Group("board", isolated=True, clip=Box(2, 3, 20, 33), children=(leaf(fill=Solid((0.2, 0.4, 0.6))),))
    made = document(board, leaf(fill_opacity=0.4, opacity=0.5, box=Box(0, 12, 24, 32)), space=inverted)
    path = tmp_path / ("a.ora" if kind == "ora" else "a")
    write(made, path)
    shown, drawn = render_tree(read(path, kind, ReadLimits())), render_tree(made)
    for ground in (0, 255):
        assert np.abs(on_solid(drawn, ground) - on_solid(shown, ground)).max() <= 2
