"""Round trips of the three writable formats, and what the writers refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from psd_tools import PSDImage

from pipelines.errors import UsageError
from pipelines.formats import Document, Group, Leaf, Mask, Node, ReadLimits, detect, read, write
from schemas.compositing import Rgba, on_solid
from schemas.design import LayerKind, Text, TextRun
from schemas.geometry import Box

LIMITS = ReadLimits()
TEXT = Text(
    runs=(TextRun(text="Größe ", font="Inter-Bold", size=31.5, colour="#ff8000", weight=700), TextRun(text="日本")),
    alignment="centre",
    language="de",
)


def noise(box: Box, seed: int, channels: int = 4) -> Any:
    shape = (box.height, box.width, channels) if channels > 1 else (box.height, box.width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def leaf(name: str, box: Box, seed: int = 0, **options: Any) -> Leaf:
    pixels = noise(box, seed)
    return Leaf(name, box=box, pixels=lambda: pixels, **options)


def document(nodes: tuple[Node, ...], width: int = 40, height: int = 30) -> Document:
    return Document(width, height, nodes, preview=noise(Box(0, 0, width, height), 99))


def masked(box: Box, outside: int) -> Mask:
    return Mask(box, noise(box, 5, channels=1), outside)


def everything() -> Document:
    """Overflow on all sides, masks, nested groups of both kinds, clipping, modes, hidden and empty layers."""
    inner = Group(
        "isolated",
        children=(leaf("base", Box(3, 3, 9, 20), 3), leaf("on base", Box(0, 0, 20, 20), 4, clipped=True, opacity=0.2)),
        isolated=True,
        mask=masked(Box(-4, 3, 12, 9), 255),
    )
    return document(
        (
            leaf("bg", Box(0, 0, 40, 30), 1),
            leaf(
                "über 漢字 🙂",
                Box(-10, -5, 60, 50),
                2,
                opacity=0.6,
                blend_mode="multiply",
                mask=masked(Box(2, 3, 12, 9), 0),
            ),
            Group("through", children=(leaf("hidden", Box(1, 1, 5, 5), visible=False), inner)),
            Group("screen", children=(leaf("z", Box(9, 9, 19, 19)),), isolated=True, blend_mode="screen", opacity=0.2),
            Leaf("empty"),
        )
    )


def skeleton(node: Node) -> tuple[object, ...]:
    mask = (node.mask.box, node.mask.outside, node.mask.pixels.tobytes()) if node.mask else None
    common = (node.name, node.visible, round(node.opacity, 6), node.blend_mode, node.clipped, mask, node.undrawn)
    if isinstance(node, Leaf):
        return (*common, node.box, node.pixels().tobytes())
    assert isinstance(node, Group)
    return (*common, node.isolated, tuple(skeleton(child) for child in node.children))


def round_trip(source: Document, path: Path) -> Document:
    write(source, path)
    format = detect(str(path))
    assert format is not None
    return read(path, format, LIMITS)


@pytest.mark.parametrize("name", ["a.psd", "a.psb", "folder"])
def test_a_written_tree_reads_back_the_same(tmp_path: Path, name: str) -> None:
    source = everything()
    back = round_trip(source, tmp_path / name)
    assert [skeleton(node) for node in back.nodes] == [skeleton(node) for node in source.nodes]
    assert (back.width, back.height) == (40, 30)


@pytest.mark.parametrize("name", ["a.psd", "a.psb", "a.ora", "folder"])
def test_the_preview_reads_back_within_a_level_on_any_ground(tmp_path: Path, name: str) -> None:
    source = everything()
    back = round_trip(source, tmp_path / name)
    assert source.preview is not None and back.preview is not None
    for ground in (0, 255):
        assert np.abs(on_solid(source.preview, ground) - on_solid(back.preview, ground)).max() <= 1.0


@pytest.mark.parametrize("name", ["a.psd", "a.psb", "a.ora"])
def test_the_same_tree_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    first, second = tmp_path / f"1{name}", tmp_path / f"2{name}"
    write(everything(), first)
    write(everything(), second)
    assert first.read_bytes() == second.read_bytes()


def test_every_psd_blend_mode_reads_back(tmp_path: Path) -> None:
    from pipelines.formats.blending import PSD

    nodes = tuple(leaf(mode, Box(0, 0, 4, 4), blend_mode=mode) for mode in PSD)
    back = round_trip(document(nodes), tmp_path / "modes.psd")
    assert [node.blend_mode for node in back.nodes] == list(PSD)


def test_psd_tools_itself_opens_what_we_write(tmp_path: Path) -> None:
    write(everything(), tmp_path / "a.psd")
    psd = PSDImage.open(tmp_path / "a.psd")
    layers = {layer.name: layer for layer in psd.descendants()}
    assert psd.has_preview()
    assert layers["über 漢字 🙂"].bbox == (-10, -5, 60, 50)
    assert layers["isolated"].mask.background_color == 255
    assert [clip.name for clip in layers["base"].clip_layers] == ["on base"]
    assert not layers["hidden"].visible


def test_a_psd_keeps_a_transparent_preview_transparent(tmp_path: Path) -> None:
    preview = np.zeros((30, 40, 4), np.uint8)
    preview[5:9] = (10, 200, 30, 128)
    source = replace(everything(), preview=preview)
    back = round_trip(source, tmp_path / "a.psd")
    assert back.preview is not None
    assert np.array_equal(back.preview[..., 3], preview[..., 3])
    assert np.abs(back.preview[6, 6, :3].astype(int) - (10, 200, 30)).max() <= 1


def test_ora_says_masks_and_clipping_with_operators(tmp_path: Path) -> None:
    mask = masked(Box(2, 3, 12, 9), 0)
    nodes = (
        leaf("bg", Box(0, 0, 40, 30), 1),
        leaf("masked", Box(-5, 0, 20, 20), 2, mask=mask, opacity=0.5),
        leaf("base", Box(3, 3, 9, 20), 3, blend_mode="multiply"),
        leaf("clip", Box(0, 0, 20, 20), 4, clipped=True),
    )
    back = round_trip(document(nodes), tmp_path / "a.ora")
    bottom, group, run = back.nodes
    assert isinstance(bottom, Leaf) and skeleton(bottom) == skeleton(nodes[0])
    assert isinstance(group, Group) and group.isolated and group.opacity == 0.5 and group.mask is not None
    painted = group.mask.pixels[mask.box.within(group.mask.box).slices]
    assert np.array_equal(painted, mask.pixels)
    assert int(group.mask.pixels.sum()) == int(mask.pixels.sum())
    assert isinstance(run, Group) and run.blend_mode == "multiply"
    assert [(child.name, child.clipped, child.blend_mode) for child in run.children] == [
        ("base", False, "normal"),
        ("clip", True, "normal"),
    ]


def test_a_layer_folder_keeps_typography_and_kinds(tmp_path: Path) -> None:
    nodes = (
        leaf(
            "title", Box(0, 0, 8, 8), kind=LayerKind.TEXT, text=TEXT, effects=("drop-shadow",), undrawn=("drop-shadow",)
        ),
        leaf("bg", Box(0, 0, 8, 8), kind=LayerKind.BACKGROUND),
    )
    back = round_trip(document(nodes), tmp_path / "design")
    first, second = back.nodes
    assert isinstance(first, Leaf) and isinstance(second, Leaf)
    assert first.text == TEXT and first.kind is LayerKind.TEXT and first.effects == ("drop-shadow",)
    assert second.kind is LayerKind.BACKGROUND and second.text is None


@pytest.mark.parametrize(
    ("suffix", "broken", "message"),
    [
        (".psd", replace(everything(), preview=None), "preview"),
        (".ora", replace(everything(), preview=None), "preview"),
        (".psd", document((leaf("x", Box(0, 0, 2, 2), effects=("stroke",)),)), "stroke"),
        (".ora", document((leaf("x", Box(0, 0, 2, 2), effects=("stroke",)),)), "stroke"),
        (".psd", document((leaf("x", Box(0, 0, 2, 2), blend_mode="plus-lighter"),)), "plus-lighter"),
        (".ora", document((leaf("x", Box(0, 0, 2, 2), blend_mode="linear-burn"),)), "linear-burn"),
        (".psd", document((leaf("x", Box(0, 0, 2, 2), mask=masked(Box(0, 0, 2, 2), 7)),)), "not 7"),
        (".psd", document((), width=30_001), ".psb"),
        (".gif", everything(), ".gif"),
    ],
)
def test_what_a_format_cannot_say_is_refused(tmp_path: Path, suffix: str, broken: Document, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write(broken, tmp_path / f"x{suffix}")


def test_ora_refuses_a_clipped_layer_that_blends_and_a_masked_group_that_needs_its_backdrop(tmp_path: Path) -> None:
    base = leaf("base", Box(0, 0, 9, 9))
    clipped = document((base, leaf("c", Box(0, 0, 9, 9), clipped=True, blend_mode="multiply")))
    with pytest.raises(UsageError, match="clipped"):
        write(clipped, tmp_path / "c.ora")
    blending = leaf("m", Box(0, 0, 9, 9), blend_mode="multiply")
    through = document((base, Group("g", children=(blending,), mask=masked(Box(0, 0, 4, 4), 0))))
    with pytest.raises(UsageError, match="pass-through"):
        write(through, tmp_path / "g.ora")


def test_a_folder_with_a_design_is_not_overwritten(tmp_path: Path) -> None:
    write(everything(), tmp_path / "d")
    with pytest.raises(UsageError, match="already"):
        write(everything(), tmp_path / "d")


def test_hidden_layers_are_not_decoded_by_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipelines.formats.psd_nodes as nodes

    write(everything(), tmp_path / "a.psd")
    calls: list[str] = []

    def counted(layer: Any, colours: Any) -> Rgba:
        calls.append(layer.name)
        return np.zeros((1, 1, 4), np.uint8)

    monkeypatch.setattr(nodes, "layer_pixels", counted)
    back = read(tmp_path / "a.psd", "psd", LIMITS)
    assert calls == []
    first = back.nodes[0]
    assert isinstance(first, Leaf)
    first.pixels()
    assert calls == ["bg"]
