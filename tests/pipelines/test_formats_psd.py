"""PSD files of other programs: the corpus reads or is rejected, and what a file says is read truly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from psd_tools import PSDImage

from pipelines.errors import Rejected
from pipelines.formats import Document, Group, Leaf, ReadLimits, detect, read
from pipelines.formats.style import Solid
from pipelines.formats.tree import Adjustment
from pipelines.formats.typography import direction_of, language_of, weight_of
from schemas.compositing import on_solid
from schemas.design import LayerKind
from schemas.ledger import Code

LIMITS = ReadLimits()


def files(corpus: Path) -> list[Path]:
    return sorted(path for path in corpus.rglob("*") if path.suffix.lower() in (".psd", ".psb", ".ora"))


def opened(path: Path) -> Document:
    format = detect(str(path))
    assert format is not None
    return read(path, format, LIMITS)


def leaves(document: Document) -> dict[str, Leaf]:
    return {node.name: node for _, node in document.walk() if isinstance(node, Leaf)}


def test_every_file_of_the_corpus_is_read_or_rejected(corpus: Path) -> None:
    codes: Counter[Code] = Counter()
    texts = 0
    for path in files(corpus):
        try:
            document = opened(path)
            codes[Code.OK] += 1
        except Rejected as error:
            codes[error.code] += 1
            continue
        if document.preview is not None:
            assert document.preview.shape == (document.height, document.width, 4)
            assert document.preview.dtype == np.uint8
        for _, node in document.walk():
            assert 0 <= node.opacity <= 1
            if node.mask is not None:
                assert node.mask.pixels.shape == (node.mask.box.height, node.mask.box.width)
            if isinstance(node, Leaf):
                if node.text is not None:
                    texts += 1
                    assert all(run.font and run.size and run.colour for run in node.text.runs), path
                pixels = node.pixels()
                assert pixels.shape == (node.box.height, node.box.width, document.space.channels + 1)
                assert pixels.dtype == np.uint8
    assert codes[Code.UNREADABLE] >= 5
    assert codes[Code.OK] >= 180
    assert set(codes) <= {Code.OK, Code.UNREADABLE, Code.UNSUPPORTED, Code.TOO_LARGE}
    assert texts >= 70


def test_files_without_layers_keep_their_picture(corpus: Path) -> None:
    document = opened(corpus / "psd-tools/tests/psd_files/0layers.psd")
    assert document.nodes == () and document.preview is not None


def test_typography_is_the_files_own(corpus: Path) -> None:
    document = opened(corpus / "psd.js/examples/images/example.psd")
    texts = [leaf.text for leaf in leaves(document).values() if leaf.text]
    assert {text.content for text in texts} == {"Make a change and save."}
    assert {text.alignment for text in texts} == {"centre"}
    runs = [run for text in texts for run in text.runs]
    assert {(run.font, run.weight, run.size) for run in runs} == {("HelveticaNeue-Light", 300, 33.0)}
    assert {"#55606e", "#8a2316", "#137862"} >= {run.colour for run in runs}


def test_shapes_without_pixels_are_drawn(corpus: Path) -> None:
    path = corpus / "psd-tools/tests/psd_files/layers-minimal/shape-layer.psd"
    document = opened(path)
    assert document.preview is None
    shape = document.nodes[0]
    drawn = np.array(PSDImage.open(path).composite(ignore_preview=True).convert("RGBA"))
    assert isinstance(shape, Leaf) and shape.kind is LayerKind.SHAPE
    assert isinstance(shape.fill, Solid) and shape.stroke is not None
    part = shape.box.intersect(document.visible)
    ours = shape.pixels()[part.within(shape.box).slices][..., 3] > 127
    assert (ours == (drawn[part.slices][..., 3] > 127)).mean() > 0.95
    line = shape.stroke()
    assert line is not None and line.coverage.shape == (shape.box.height, shape.box.width)


def test_densities_of_masks_let_through_what_the_preview_shows(corpus: Path) -> None:
    document = opened(corpus / "psd-tools/tests/psd_files/mask-vector-density.psd")
    assert document.preview is not None
    for row, node in zip((4, 12, 20, 28), document.nodes[1:], strict=True):
        assert node.mask is not None
        expected = 255 - int(document.preview[row, 4, 1])  # red over white outside of the path
        assert abs(node.mask.outside - expected) <= 1


def test_a_clipped_group_is_clipped(corpus: Path) -> None:
    document = opened(corpus / "psd-tools/tests/psd_files/group-clipping/group-clipping.psd")
    assert [node.clipped for node in document.nodes] == [False, False, True]


def test_an_undeclared_alpha_plane_is_the_previews_alpha(corpus: Path) -> None:
    document = opened(corpus / "localstorage/art/ic_launcher.psd")
    assert document.preview is not None and document.preview[0, 0, 3] == 0


def test_legacy_effects_are_seen(corpus: Path) -> None:
    document = opened(corpus / "triplesolitaire/art/512triple.psd")
    effects = {effect for _, node in document.walk() for effect in node.effects}
    assert {"drop-shadow", "inner-shadow", "gradient-overlay"} <= effects


def test_adjustments_are_nodes_that_map_colours(corpus: Path) -> None:
    document = opened(corpus / "psd-tools/tests/psd_files/adjustments/invert_rgb.psd")
    (inverts,) = (node for _, node in document.walk() if isinstance(node, Adjustment))
    assert inverts.kind == "invert" and not inverts.undrawn
    assert np.allclose(inverts.apply(np.array([[0.0, 0.25, 1.0]], np.float32)), [[1.0, 0.75, 0.0]], atol=1 / 255)


def test_groups_say_whether_they_are_isolated(corpus: Path) -> None:
    through = opened(corpus / "psd-tools/tests/psd_files/passthrough_opacity.psd")
    assert any(isinstance(node, Group) and not node.isolated for _, node in through.walk())


@pytest.mark.parametrize(
    "name",
    [
        "psd-tools/tests/psd_files/colormodes/4x4_8bit_lab.psd",
        "psd-tools/tests/psd_files/colormodes/4x4_8bit_grayscale.psd",
        "psd-tools/tests/psd_files/layers/shape-layer.psd",
        "oov-psd/testdata/rgb16bit.psd",
        "olve-openraster/Olve.OpenRaster.Test/map_1.ora",
    ],
)
def test_layers_and_merged_picture_are_converted_alike(corpus: Path, name: str) -> None:
    """Most opaque pixels of the top layer are in the preview."""
    document = opened(corpus / name)
    assert document.preview is not None
    top = [node for node in document.nodes if isinstance(node, Leaf) and node.visible][-1]
    part = top.box.intersect(document.visible)
    pixels = document.space.rgba(top.pixels()[part.within(top.box).slices])
    shown = document.preview[part.slices]
    solid = pixels[..., 3] == 255
    assert solid.any()
    difference = np.abs(on_solid(pixels, 255) - on_solid(shown, 255)).max(axis=2)[solid]
    assert np.median(difference) <= 2


@pytest.mark.parametrize(
    ("text", "language", "direction"),
    [
        ("Hello", "en", "ltr"),
        ("東京タワー", "ja", "ltr"),
        ("北京", "zh", "ltr"),
        ("서울", "ko", "ltr"),
        ("Привет", "ru", "ltr"),
        ("שלום", "he", "rtl"),
        ("مرحبا 12", "ar", "rtl"),
        ("123 !", None, "ltr"),
    ],
)
def test_language_and_direction_are_guessed_from_the_script(text: str, language: str | None, direction: str) -> None:
    assert (language_of(text), direction_of(text)) == (language, direction)


@pytest.mark.parametrize(
    ("font", "weight"),
    [("Inter-Regular", 400), ("Inter-SemiBold", 600), ("Lato-Black", 900), ("Foo-ExtraLight", 200), ("Foo-Bold", 700)],
)
def test_weight_is_guessed_from_the_fonts_name(font: str, weight: int) -> None:
    assert weight_of(font) == weight
