"""The typography of PSD text layers: the corpus' 78, and one whose engine data is rewritten."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
from psd_tools import PSDImage
from psd_tools.constants import ColorMode, Tag
from psd_tools.psd.descriptor import Double, Enumerated
from psd_tools.psd.engine_data import EngineData

from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_pixels import layer_pixels
from pipelines.formats.psd_text import hex_of, text_of
from pipelines.formats.typography import language_of, slanted, weight_of

TYPE_LAYER = "psd-tools/tests/psd_files/layers-minimal/type-layer.psd"


def type_layers(path):
    psd = PSDImage.open(path)
    return psd, [layer for layer in psd.descendants() if layer.kind == "type"]


@pytest.fixture(scope="module")
def all_texts(corpus):
    """(layer, colours, text) of every type layer of the corpus."""
    found = []
    logging.disable(logging.CRITICAL)
    for path in sorted(p for p in corpus.rglob("*.ps[db]") if Tag.TYPE_TOOL_OBJECT_SETTING.value in p.read_bytes()):
        try:
            psd, layers = type_layers(path)
        except (ValueError, OSError, AssertionError):
            continue
        found += [(layer, Colours.of(psd), text_of(layer, Colours.of(psd))) for layer in layers]
    logging.disable(logging.NOTSET)
    return found


@pytest.fixture
def typed(corpus):
    """Gives the text of a real layer whose engine data, transform or warp were replaced."""
    psd, layers = type_layers(corpus / TYPE_LAYER)
    layer = layers[0]
    setting = layer.tagged_blocks.get_data(Tag.TYPE_TOOL_OBJECT_SETTING)

    def text(engine=None, transform=None, warp=None, colours=None):
        if engine is not None:
            setting.text_data[b"EngineData"].value = EngineData.frombytes(engine.encode("macroman"))
        if transform is not None:
            setting.transform = (*transform, 0.0, 0.0)
        for key, value in (warp or {}).items():
            setting.warp[key] = value
        return text_of(layer, colours or Colours.of(psd))

    return text


def string(value):
    """Text as engine data has it: UTF-16 behind a mark, brackets escaped."""
    data = value.encode("utf-16-be")
    for byte in (b"\\", b"(", b")"):
        data = data.replace(byte, b"\\" + byte)
    return "(" + (b"\xfe\xff" + data).decode("macroman") + ")"


def engine(text, runs, paragraphs=((99, ""),), default="/FontSize 10.0 /Font 0", fonts=("A-Bold", "B-LightItalic")):
    """Engine data; ``runs`` and ``paragraphs``: (length, properties) each."""
    names = " ".join(f"<< /Name {string(name)} >>" for name in fonts)
    styles = " ".join(f"<< /StyleSheet << /StyleSheetData << {body} >> >> >>" for _, body in runs)
    sheets = " ".join(f"<< /ParagraphSheet << /Properties << {body} >> >> >>" for _, body in paragraphs)
    return f"""<< /EngineDict << /Editor << /Text {string(text)} >>
    /ParagraphRun << /RunArray [ {sheets} ] /RunLengthArray [ {" ".join(str(n) for n, _ in paragraphs)} ] >>
    /StyleRun << /RunArray [ {styles} ] /RunLengthArray [ {" ".join(str(n) for n, _ in runs)} ] >> >>
    /ResourceDict << /TheNormalStyleSheet 0 /TheNormalParagraphSheet 0 /FontSet [ {names} ]
    /StyleSheetSet [ << /StyleSheetData << {default} >> >> ]
    /ParagraphSheetSet [ << /Properties << /Justification 1 /AutoLeading 1.5 >> >> ] >> >>"""


def test_every_text_of_the_corpus_has_font_size_and_colour(all_texts):
    assert len(all_texts) == 78
    for _, _, text in all_texts:
        assert all(run.font and run.size and run.colour and run.leading for run in text.runs)
        assert not text.content.endswith("\n") and "\r" not in text.content


def test_colours_are_those_of_the_pixels(all_texts):
    """The median opaque pixel of a layer has the colour of one of its runs; a colour emoji has colours of its own."""
    wrong = 0
    for layer, colours, text in all_texts:
        pixels = colours.space.rgba(layer_pixels(layer, colours))
        solid = pixels[pixels[..., 3] >= 250][:, :3]
        if len(solid) and "🤣" not in text.content:
            shown = np.median(solid, axis=0)
            said = [[int(run.colour[i : i + 2], 16) for i in (1, 3, 5)] for run in text.runs]
            wrong += min(np.abs(np.array(colour) - shown).max() for colour in said) > 2
    assert wrong == 0


def test_sizes_fit_the_pixels(all_texts):
    """A layer of one line is no higher than its letters can be, one of several lines about as high as its leading
    says: what fails where a transform, or the points of a default style, are forgotten.
    """
    for layer, _, text in all_texts:
        size = max(run.size * run.vertical_scale for run in text.runs)
        assert 0.3 * size < layer.height
        if len(text.content) < 20:
            lines = text.content.count("\n")
            assert layer.height < 1.45 * size + lines * max(run.leading for run in text.runs)


def test_runs_share_the_text_by_utf16_units(typed):
    text = typed(engine("a🤣b)c\r", [(2, "/FontSize 8.0"), (2, "/FontSize 9.0"), (3, "/FontSize 7.0")], [(7, "")]))
    assert [(run.text, run.size) for run in text.runs] == [("a🤣", 8.0), ("b", 9.0), (")c", 7.0)]


def test_style_is_read_and_inherited(typed):
    style = "/FauxItalic true /Underline true /FontCaps 1 /Tracking -50 /AutoLeading false /Leading 12.5 /Strikethrough"
    shifted = "/Font 1 /BaselineShift 2.0 /FontBaseline 1 /FontCaps 2 /HorizontalScale 0.5 /FauxBold true"
    colour = "/FillColor << /Type 1 /Values [ 1.0 0.0 0.5 1.0 ] >>"
    text = typed(engine("abcd\r", [(2, f"{style} true {colour}"), (3, shifted)], [(5, "")]))
    first, second = text.runs
    assert (first.font, first.size, first.weight, first.italic, first.faux_italic) == ("A-Bold", 10.0, 700, True, True)
    assert (first.underline, first.strikethrough, first.caps, first.tracking) == (True, True, "small", -50.0)
    assert (first.leading, first.colour) == (12.5, "#0080ff")
    assert (second.font, second.weight, second.italic, second.caps) == ("B-LightItalic", 700, True, "all")
    assert (second.faux_bold, second.faux_italic, second.baseline, second.baseline_shift) == (True, False, "super", 2.0)
    assert (second.horizontal_scale, second.vertical_scale) == (0.5, 1.0)
    assert second.leading == 15.0  # the default paragraph's automatic leading
    assert (text.alignment, text.alignments) == ("right", ())


def test_paragraphs_have_alignment_and_leading_of_their_own(typed):
    paragraphs = [(4, "/Justification 2"), (3, "/Justification 6 /AutoLeading 2.0")]
    text = typed(engine("a\x03b\rcd\r", [(7, "")], paragraphs))
    assert text.content == "a\nb\ncd"
    assert text.alignments == ("centre", "centre", "justify")
    assert text.alignment == "centre"
    assert [(run.text, run.leading) for run in text.runs] == [("a\nb\n", 15.0), ("cd", 20.0)]


@pytest.mark.parametrize(
    ("transform", "size", "wide", "rotation"),
    [
        ((2.0, 0.0, 0.0, 2.0), 20.0, 1.0, 0.0),
        ((1.0, 0.0, 0.0, 2.0), 20.0, 0.5, 0.0),
        ((0.0, 3.0, -3.0, 0.0), 30.0, 1.0, 90.0),
        ((math.cos(0.5), -math.sin(0.5), math.sin(0.5), math.cos(0.5)), 10.0, 1.0, round(-math.degrees(0.5), 3)),
        ((-1.0, 0.0, 0.0, 1.0), 10.0, 1.0, 0.0),  # mirrored, not turned
        ((1.0, 0.0, 0.7, 1.0), 10.0, 1.0, 0.0),  # slanted, no higher
        ((math.nan, 0.0, 0.0, 1.0), 10.0, 1.0, 0.0),
        ((0.0, 0.0, 0.0, 0.0), 10.0, 1.0, 0.0),
    ],
)
def test_the_transform_scales_and_turns(typed, transform, size, wide, rotation):
    text = typed(engine("a\r", [(2, "")]), transform)
    run = text.runs[0]
    assert (run.size, run.leading, run.horizontal_scale, text.rotation) == (size, size * 1.5, wide, rotation)


def test_a_warp_is_named_where_it_bends(typed):
    style = Enumerated(b"warpStyle", b"warpShellLower")
    assert typed(warp={b"warpStyle": style}).warp is None
    bent = typed(warp={b"warpValue": Double(30.0)})
    assert (bent.warp, bent.warped) == ("shell-lower", True)


def test_vertical_and_marked_languages(typed):
    vertical = engine("日本\r", [(3, "/Language 30")]).replace("/StyleRun", "/Rendered << /Shapes << /WritingDirection 2 >> >> /StyleRun", 1)  # fmt: skip  # noqa: E501
    text = typed(vertical)
    assert (text.direction, text.language) == ("ttb", "ja")
    assert typed(engine("Straße\r", [(7, "/Language 42")])).language == "de"
    assert typed(engine("Привіт\r", [(7, "/Language 19")])).language == "uk"
    assert typed(engine("Hello\r", [(6, "/Language 18")])).language == "en"  # marked as Russian, in Latin letters
    assert typed(engine("שלום\r", [(5, "/Language 9999")])).direction == "rtl"


def test_colours_of_other_spaces(corpus):
    white = (1.0, 1.0, 1.0, 1.0)
    rgb = Colours.of(PSDImage.open(corpus / TYPE_LAYER))
    assert hex_of((1.0, 0.5), rgb) == "#808080"
    assert hex_of((1.0, 0.0, 1.0, 1.0, 0.0), rgb) == "#ff0000"
    assert hex_of((1.0, 0.0, 0.0, 0.0, 1.0), rgb) == "#000000"
    assert hex_of((1.0, 2.0, -1.0, 0.0), rgb) == "#ff0000"
    cmyk = Colours.of(PSDImage.open(corpus / "psd.rb/spec/files/alignment_modes.psd"))
    assert hex_of((1.0, 0.0, 0.0, 0.0, 0.0), cmyk) == "#ffffff"
    assert hex_of(white, cmyk) == "#ffffff"
    gray = Colours.of(PSDImage.open(corpus / "psd-tools/tests/psd_files/colormodes/4x4_8bit_grayscale.psd"))
    assert hex_of((1.0, 0.0), gray) == "#000000"
    lab = replace(rgb, mode=ColorMode.LAB)
    assert hex_of(white, lab) == "#ffffff"
    assert hex_of((1.0, 0.5, 0.5), rgb) is None


@pytest.mark.parametrize(
    "runs",
    [
        [(-5, ""), (99, "")],
        [(2**40, "/FontSize 1"), (2**40, "")],
        [(1, "/FontSize true /Font -3 /FillColor 7 /Tracking << >> /Leading [ 1 ] /AutoLeading false")],
        [
            (
                1,
                "/FontSize 1.0 /Font 999999999 /VerticalScale 0.0 /FontCaps << >> /FillColor << /Values [ 1 << >> ] >>",
            )
        ],
        [(1, "/FontSize -9999999999999999999999.0 /FillColor << /Values [ ] >> /BaselineShift 99999999999.0")],
    ],
)
def test_what_is_malformed_is_left_out(typed, runs):
    text = typed(engine("word\r", runs, [(2**40, "/Justification << >> /AutoLeading -4")]))
    assert text.content == "word"


def test_content_survives_without_engine_data(typed):
    text = typed("<< /EngineDict [ ] /ResourceDict 3 >>")
    assert text.content == "A"
    assert (text.runs[0].font, text.runs[0].size, text.runs[0].colour) == (None, None, None)


@pytest.mark.parametrize(
    ("font", "weight", "italic"),
    [
        ("MyriadPro-SemiboldIt", 600, True),
        ("HelveticaNeueLTStd-Lt", 300, False),
        ("HelveticaNeue-UltraLight", 200, False),
        ("HiraKakuProN-W6", 600, False),
        ("MuseoSans-700Italic", 700, True),
        ("BlackoakStd-Regular", 400, False),
        ("ArialMT", 400, False),
        ("Arial-BoldItalicMT", 700, True),
        ("Arial Black", 900, False),
        ("Panton-ExtraBold", 800, False),
        ("Helvetica-LightOblique", 300, True),
        ("Avenir-Medium", 500, False),
        ("Futura-CondensedExtraBold", 800, False),
    ],
)
def test_weight_and_slant_of_font_names(font, weight, italic):
    assert (weight_of(font), slanted(font)) == (weight, italic)


def test_a_claimed_language_needs_its_script():
    assert language_of("北京", "ja") == "ja"
    assert language_of("北京", "fr") == "zh"
    assert language_of("ＡＢＣ", "fr") == "fr"
    assert language_of("12", "fr") is None
