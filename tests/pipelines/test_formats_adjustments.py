"""Adjustment layers of PSD files: blocks as Photoshop writes them, each colour mode, and blocks that are broken."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psd_tools import PSDImage
from psd_tools.api.layers import PixelLayer
from psd_tools.constants import ColorMode, Tag
from psd_tools.psd.adjustments import ADJUSTMENT_TYPES, ColorLookup
from psd_tools.psd.descriptor import Bool, Descriptor, DescriptorBlock, Double, Enumerated, Integer, RawData
from psd_tools.psd.layer_and_mask import ChannelDataList, LayerRecord
from psd_tools.psd.tagged_blocks import TaggedBlock

from pipelines import srgb
from pipelines.formats import adjust_lookup
from pipelines.formats.psd_adjust import adjustment_of
from pipelines.formats.psd_colours import Colours
from pipelines.formats.tree import Space

RGB = Colours.of(PSDImage.new("RGB", (1, 1)))
GRAY = Colours.of(PSDImage.new("L", (1, 1)))
CMYK = Colours.of(PSDImage.new("CMYK", (1, 1)))
LAB = replace(RGB, mode=ColorMode.LAB)
PLATES = 10


def layer(**blocks):
    """An empty layer with tagged blocks: bytes as psd-tools reads them from a file, or parsed data."""
    record = LayerRecord()
    for name, data in blocks.items():
        tag = Tag[name]
        if isinstance(data, bytes):
            raw = b"8BIM" + tag.value + struct.pack(">I", len(data)) + data
            record.tagged_blocks[tag] = TaggedBlock.frombytes(raw)
        else:
            record.tagged_blocks[tag] = TaggedBlock(key=tag, data=data)
    return PixelLayer(PSDImage.new("RGB", (1, 1)), record, ChannelDataList())


def changed(colours, values, **blocks):
    """What the adjustment makes of one colour of 0..255 levels."""
    found = adjustment_of(layer(**blocks), colours)
    assert found is not None
    assert found[1] is not None
    return (found[1](np.array(values, np.float32) / 255) * 255).tolist()


def described(**values):
    """A descriptor block; keys as attributes are padded to four letters."""
    block = DescriptorBlock()
    for key, value in values.items():
        block[key.replace("_", " ").encode()] = value
    return block


def levels(*records):
    plain = (0, 255, 0, 255, 100)
    return struct.pack(">H", 2) + b"".join(struct.pack(">5H", *record) for record in (*records, *[plain] * 29)[:29])


def curves(**channels):
    """A version 1 block whose extra part holds the curves, as Photoshop writes it."""
    numbers = {int(name[1:]): points for name, points in channels.items()}
    bits = sum(1 << number for number in numbers)

    def packed(points):
        return struct.pack(">H", len(points)) + b"".join(struct.pack(">2H", y, x) for x, y in points)

    plain = b"".join(packed(points) for points in numbers.values())
    extra = b"".join(struct.pack(">H", number) + packed(points) for number, points in numbers.items())
    return struct.pack(">BHI", 0, 1, bits) + plain + b"Crv " + struct.pack(">HI", 4, len(numbers)) + extra


def hue(colorize=0, master=(0, 0, 0), reds=(0, 0, 0), colour=(0, 25, 0)):
    starts = [(315, 345, 15, 45), *[(i * 60 - 45, i * 60 - 15, i * 60 + 15, i * 60 + 45) for i in range(1, 6)]]
    ranges = b"".join(struct.pack(">7h", *ends, *(reds if i == 0 else (0, 0, 0))) for i, ends in enumerate(starts))
    return struct.pack(">HBx3h3h", 2, colorize, *colour, *master) + ranges


def gradient(stops, reverse=0, smooth=0, mode=0):
    head = struct.pack(">H2B", 1, reverse, 0) + struct.pack(">I", 0) + struct.pack(">H", len(stops))
    body = b"".join(struct.pack(">2IH4H2x", place, 50, 0, *colour, 0) for place, colour in stops)
    tail = struct.pack(">H", 0) + struct.pack(">4HI2HIH4H4H2x", 2, smooth, 32, mode, 0, 0, 0, 2048, 3, *[0] * 8)
    return head + body + tail


def modern(brightness, contrast, legacy=False):
    return described(Vrsn=Integer(1), Brgh=Integer(brightness), Cntr=Integer(contrast), useLegacy=Bool(legacy))


def test_a_layer_with_pixels_is_no_adjustment():
    document = PSDImage.new("RGB", (2, 2))
    assert adjustment_of(layer(), RGB) is None
    assert adjustment_of(document, RGB) is None


def test_levels_per_channel_come_before_the_one_for_all():
    block = levels((0, 255, 0, 128, 100), (0, 128, 0, 255, 100))
    assert changed(RGB, [64, 64, 64], LEVELS=block) == pytest.approx([64, 32, 32], abs=0.6)


def test_levels_are_rounded_once_and_curves_twice():
    """Measured in Photoshop 2026 by the Patchy project, docs/adjustments-calibration.md."""
    block = levels((0, 255, 0, 127, 100), (0, 100, 0, 1, 100))  # 49 of 100 is 0.49 of a level, then 0.49 * 127 / 255
    assert changed(RGB, [49, 255, 255], LEVELS=block) == pytest.approx([0, 127, 127], abs=1e-3)
    block = levels((0, 1, 0, 255, 100), (0, 100, 0, 1, 100))  # 0.49 of a level, times 255
    assert changed(RGB, [49, 0, 0], LEVELS=block)[0] == pytest.approx(125, abs=0.01)
    block = curves(_0=[(0, 0), (1, 255)], _1=[(0, 0), (100, 1)])
    assert changed(RGB, [49, 0, 0], CURVES=block)[0] == 0


def test_32_bit_documents_have_levels_curves_and_exposure_in_linear_light():
    """Measured as above, docs/high-bit-depth.md."""
    linear = replace(RGB, depth=32)
    middle = float(srgb.encode(np.array(0.5))) * 255
    half = levels((0, 255, 0, 128, 100))
    assert changed(linear, [255] * 3, LEVELS=half) == pytest.approx(
        [float(srgb.encode(np.array(128 / 255))) * 255] * 3, abs=0.1
    )
    assert changed(linear, [middle] * 3, CURVES=curves(_0=[(0, 255), (255, 0)])) == pytest.approx([middle] * 3, abs=0.2)
    assert changed(linear, [255] * 3, EXPOSURE=struct.pack(">H3f", 1, -1.0, 0, 1)) == pytest.approx(
        [middle] * 3, abs=0.1
    )


def test_gray_documents_use_the_first_channel():
    block = levels((0, 255, 0, 0, 100), (0, 255, 255, 0, 100))
    assert changed(GRAY, [10, 10, 10], LEVELS=block) == pytest.approx([245] * 3)


def test_curves_hit_their_points():
    block = curves(_1=[(0, 0), (100, 150), (255, 255)], _3=[(0, 255), (255, 0)])
    assert changed(RGB, [100, 100, 100], CURVES=block) == pytest.approx([150, 100, 155])


def test_curves_without_the_extra_part_and_drawn_by_hand():
    drawn = struct.pack(">BHI", 1, 1, 1) + bytes(255 - level for level in range(256))
    assert changed(RGB, [10, 20, 30], CURVES=drawn) == pytest.approx([245, 235, 225])


def test_brightness_of_the_old_block_has_a_sign():
    old = struct.pack(">3hBx", -20, 0, 127, 0)
    assert changed(RGB, [100, 150, 200], BRIGHTNESS_AND_CONTRAST=old) == pytest.approx([80, 130, 180])


def test_exposure_works_in_the_light_of_the_documents_profile():
    block = struct.pack(">H3f", 1, 1.0, 0.0, 1.0)
    linear = replace(RGB, space=Space("RGB", 3, lambda codes: np.rint(srgb.encode(codes / 255) * 255).astype(np.uint8)))
    assert changed(linear, [50, 100, 120], EXPOSURE=block) == pytest.approx([100, 200, 240], abs=1)
    assert changed(RGB, [50, 100, 120], EXPOSURE=block) == pytest.approx([68.5, 137, 164.4], abs=0.2)
    assert changed(GRAY, [50, 50, 50], EXPOSURE=block) == pytest.approx([50 * 2 ** (1 / 1.75)] * 3, abs=0.2)


def test_the_descriptor_wins_over_the_old_block():
    old = struct.pack(">3hBx", -20, 0, 127, 0)
    both = {"BRIGHTNESS_AND_CONTRAST": old, "CONTENT_GENERATOR_EXTRA_DATA": modern(55, 0)}
    assert changed(RGB, [50, 100, 0], **both) == pytest.approx([50 * 2**0.5, 100 * 2**0.5, 0], abs=0.7)
    both["CONTENT_GENERATOR_EXTRA_DATA"] = modern(55, 0, legacy=True)
    assert changed(RGB, [50, 100, 0], **both) == pytest.approx([105, 155, 55])


def test_lab_brightness_leaves_the_colours_alone():
    assert changed(LAB, [50, 90, 200], CONTENT_GENERATOR_EXTRA_DATA=modern(55, 0))[1:] == pytest.approx([90, 200])


def test_hue_and_saturation():
    assert changed(RGB, [255, 0, 0], HUE_SATURATION=hue(master=(120, 0, 0))) == pytest.approx([0, 255, 0])
    assert changed(RGB, [255, 0, 0], HUE_SATURATION=hue(reds=(60, 0, 0))) == pytest.approx([255, 255, 0])
    assert changed(RGB, [0, 0, 255], HUE_SATURATION=hue(reds=(60, 0, 0))) == pytest.approx([0, 0, 255])
    colorized = hue(colorize=1, colour=(240, 100, 0))
    assert changed(RGB, [128, 128, 128], HUE_SATURATION=colorized) == pytest.approx([1, 1, 255], abs=1.1)


def test_lightness_of_8_bit_documents_is_cut_to_a_level():
    """Measured as above: 33 percent are 84 levels."""
    assert changed(RGB, [0, 0, 0], HUE_SATURATION=hue(master=(0, 0, 33))) == pytest.approx([84] * 3, abs=0.01)
    assert changed(RGB, [255] * 3, HUE_SATURATION=hue(master=(0, 0, -33))) == pytest.approx([171] * 3, abs=0.01)
    deep = replace(RGB, depth=16)
    assert changed(deep, [0, 0, 0], HUE_SATURATION=hue(master=(0, 0, 33))) == pytest.approx([84.15] * 3, abs=0.01)


def test_hue_and_saturation_of_inks():
    turn = hue(master=(120, 0, 0))
    red = [255, 0, 0, 200]  # as what is left of white: magenta, yellow and some black
    assert changed(CMYK, red, HUE_SATURATION=turn) == pytest.approx([0, 255, 0, 200], abs=1)
    gray = [90, 90, 90, 200]
    assert changed(CMYK, gray, HUE_SATURATION=turn) == gray


def test_a_gradient_map_of_inks_goes_by_their_luminosity():
    block = gradient([(0, (0, 0, 0)), (4096, (65535, 65535, 65535))])
    assert changed(CMYK, [255, 255, 255, 255], GRADIENT_MAP=block) == pytest.approx([255] * 4)
    bright, dark = (changed(CMYK, [255, 255, 0, black], GRADIENT_MAP=block) for black in (255, 100))
    assert bright[0] == pytest.approx(0.89 * 255, abs=1)
    assert dark[0] == pytest.approx(0.89 * 100, abs=1)


def test_gradient_map_and_its_reverse():
    block = gradient([(0, (65535, 0, 0)), (4096, (0, 0, 65535))])
    assert changed(RGB, [255, 255, 255], GRADIENT_MAP=block) == pytest.approx([0, 0, 255])
    assert changed(RGB, [51, 51, 51], GRADIENT_MAP=block) == pytest.approx([204, 0, 51], abs=0.1)
    reverse = gradient([(0, (65535, 0, 0)), (4096, (0, 0, 65535))], reverse=1)
    assert changed(RGB, [255, 255, 255], GRADIENT_MAP=reverse) == pytest.approx([255, 0, 0])


def test_channel_mixer_reads_all_rows():
    rows = [(0, 100, 0, 0, 0), (100, 0, 0, 0, 0), (0, 0, 50, 0, 20)]
    block = struct.pack(">2H", 1, 0) + b"".join(struct.pack(">5h", *row) for row in rows)
    assert changed(RGB, [10, 20, 100], CHANNEL_MIXER=block) == pytest.approx([20, 10, 101])
    gray = struct.pack(">2H5h", 1, 1, 50, 50, 0, 0, 0)
    assert changed(RGB, [10, 20, 100], CHANNEL_MIXER=gray) == pytest.approx([15, 15, 15])


def test_selective_colour_skips_the_first_record():
    plates = [(9, 9, 9, 9), (100, 0, 0, 0), *[(0, 0, 0, 0)] * 8]
    block = struct.pack(">2H", 1, 1) + b"".join(struct.pack(">4h", *plate) for plate in plates)
    assert len(plates) == PLATES
    assert changed(RGB, [255, 0, 0], SELECTIVE_COLOR=block) == pytest.approx([0, 0, 0])


def test_photo_filter_colours():
    plain = struct.pack(">HH4HIB", 2, 0, 65535, 0, 0, 0, 100, 0)
    lab = struct.pack(">H3iIB", 3, 10_000, 0, 0, 100, 0)
    assert changed(RGB, [100, 100, 100], PHOTO_FILTER=plain) == pytest.approx([100, 0, 0])
    assert changed(RGB, [100, 100, 100], PHOTO_FILTER=lab) == pytest.approx([100] * 3, abs=0.5)


def test_colour_balance_vibrance_and_black_and_white():
    balance = struct.pack(">9hB", 0, 0, 0, 50, 0, 0, 0, 0, 0, 0)
    assert changed(RGB, [128, 128, 128], COLOR_BALANCE=balance) == pytest.approx([142.8, 128, 128], abs=0.1)
    assert changed(RGB, [90, 128, 90], VIBRANCE=described(vibrance=Integer(0), Strt=Integer(-100))) == pytest.approx(
        [112.4] * 3, abs=0.5
    )
    weights = described(Rd__=Integer(10), Grn_=Integer(40), useTint=Bool(False))
    assert changed(RGB, [255, 0, 0], BLACK_AND_WHITE=weights) == pytest.approx([25.5] * 3, abs=0.1)


CUBE = b"TITLE x\nLUT_3D_SIZE 2\n" + b"\n".join(
    b"%d %d %d" % (1 - r, g, b) for b in (0, 1) for g in (0, 1) for r in (0, 1)
)


def lookup_block(data, kind=b"LUTFormatCUBE"):
    block = ColorLookup(version=1, data_version=16)
    block[b"LUTFormat"] = Enumerated(b"LUTFormatType", kind)
    block[b"LUT3DFileData"] = RawData(data)
    return block


def test_a_cube_turns_red_around():
    assert changed(RGB, [51, 100, 150], COLOR_LOOKUP=lookup_block(CUBE)) == pytest.approx([204, 100, 150], abs=0.01)


def test_a_3dl_table_counts_blue_first():
    rows = b"\n".join(
        b"%d %d %d" % (1023 - 1023 * r, 1023 * g, 1023 * b) for r in (0, 1) for g in (0, 1) for b in (0, 1)
    )
    block = lookup_block(b"0 1023\n" + rows, b"LUTFormat3DL")
    assert changed(RGB, [51, 100, 150], COLOR_LOOKUP=block) == pytest.approx([204, 100, 150], abs=0.01)


def device_link(kind=b"mft2", side=2):
    corners = [(65535 * (1 - r), 65535 * g, 65535 * b) for r in (0, 1) for g in (0, 1) for b in (0, 1)]
    line = struct.pack(">2H", 0, 65535) * 3
    table = kind + bytes(4) + bytes([3, 3, side, 0]) + bytes(36) + struct.pack(">2H", 2, 2)
    table += line + b"".join(struct.pack(">3H", *corner) for corner in corners) + line
    head = bytes(12) + b"linkRGB RGB " + bytes(104)
    return head + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


def test_a_device_link():
    block = ColorLookup(version=1, data_version=16)
    block[b"profile"] = RawData(device_link())
    assert changed(RGB, [51, 100, 150], COLOR_LOOKUP=block) == pytest.approx([204, 100, 150], abs=0.01)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"LUT_3D_SIZE 2\n0 0 0\n",
        b"LUT_3D_SIZE 99999\n0 0 0\n",
        b"LUT_3D_SIZE two\n",
        b"LUT_1D_SIZE 2\n0 0 0\n1 1 1\n",
        CUBE.replace(b"0 1 1", b"0 nan 1"),
        CUBE.replace(b"0 1 1", b"0 1"),
        b"DOMAIN_MIN 0\n" + CUBE,
    ],
)
def test_a_broken_cube_is_refused(data):
    with pytest.raises(ValueError, match=r".+"):
        adjust_lookup.cube(data)
    assert adjustment_of(layer(COLOR_LOOKUP=lookup_block(data)), RGB) == ("color-lookup", None)


@pytest.mark.parametrize("profile", [b"", device_link(b"mAB "), device_link(side=200), device_link()[:170]])
def test_a_broken_device_link_is_refused(profile):
    block = ColorLookup(version=1, data_version=16)
    block[b"profile"] = RawData(profile)
    assert adjustment_of(layer(COLOR_LOOKUP=block), RGB) == ("color-lookup", None)


BLOCKS = {
    "LEVELS": levels((10, 200, 0, 255, 120)),
    "CURVES": curves(_0=[(0, 0), (100, 150), (255, 255)]),
    "EXPOSURE": struct.pack(">H3f", 1, 0.5, 0.0, 1.0),
    "BRIGHTNESS_AND_CONTRAST": struct.pack(">3hBx", 20, 10, 127, 0),
    "HUE_SATURATION": hue(master=(20, 10, 0)),
    "HUE_SATURATION_V4": hue(master=(20, 10, 0)),
    "COLOR_BALANCE": struct.pack(">9hB", *range(9), 1),
    "PHOTO_FILTER": struct.pack(">HH4HIB", 2, 0, 65535, 0, 0, 0, 25, 1),
    "CHANNEL_MIXER": struct.pack(">2H20h", 1, 0, *[30] * 20),
    "SELECTIVE_COLOR": struct.pack(">2H40h", 1, 0, *[5] * 40),
    "GRADIENT_MAP": gradient([(0, (0, 0, 0)), (4096, (65535, 65535, 65535))]),
    "POSTERIZE": struct.pack(">H2x", 4),
    "THRESHOLD": struct.pack(">H2x", 100),
    "INVERT": b"",
}
NO_INKS = {"EXPOSURE"}
PER_CHANNEL = {"LEVELS", "CURVES", "BRIGHTNESS_AND_CONTRAST", "INVERT"}
EVERYWHERE_BUT_LAB = {"POSTERIZE"}
GRAY_TOO = {"EXPOSURE", "THRESHOLD", "GRADIENT_MAP"}


@pytest.mark.parametrize("name", BLOCKS)
def test_colour_modes_that_have_the_adjustment(name):
    def works(colours, channels):
        found = adjustment_of(layer(**{name: BLOCKS[name]}), colours)
        assert found is not None
        if found[1] is None:
            return False
        values = np.linspace(0, 1, 5 * channels, dtype=np.float32).reshape(5, channels)
        assert found[1](values).shape == values.shape
        return True

    assert works(RGB, 3)
    assert works(GRAY, 3) is (name in PER_CHANNEL | EVERYWHERE_BUT_LAB | GRAY_TOO)
    assert works(CMYK, 4) is (name not in NO_INKS)
    assert works(LAB, 3) is (name in PER_CHANNEL)
    assert not works(replace(RGB, mode=ColorMode.INDEXED), 3)


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "INVERT"])
def test_a_block_cut_short_has_no_function(name):
    found = adjustment_of(layer(**{name: BLOCKS[name][: len(BLOCKS[name]) // 3]}), RGB)
    assert found is not None
    assert found[1] is None


@pytest.mark.parametrize("name", ["BLACK_AND_WHITE", "VIBRANCE", "COLOR_LOOKUP"])
def test_a_descriptor_that_is_none_has_no_function(name):
    found = adjustment_of(layer(**{name: b"\0\0\0\x10rubbish"}), RGB)
    assert found is not None
    assert found[1] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_have_no_function(value):
    assert adjustment_of(layer(EXPOSURE=struct.pack(">H3f", 1, value, 0, 1)), RGB) == ("exposure", None)
    block = described(vibrance=Double(value))
    assert adjustment_of(layer(VIBRANCE=block), RGB) == ("vibrance", None)
    tinted = described(useTint=Bool(True), tintColor=Descriptor())
    assert adjustment_of(layer(BLACK_AND_WHITE=tinted), RGB) == ("black-and-white", None)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(BLOCKS)), noise=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255))))
def test_no_block_makes_it_fail(name, noise):
    data = bytearray(BLOCKS[name])
    for place, value in noise:
        if place < len(data):
            data[place] = value
    for colours in (RGB, GRAY, CMYK):
        values = np.linspace(0, 1, 60, dtype=np.float32).reshape(-1, colours.channels)
        found = adjustment_of(layer(**{name: bytes(data)}), colours)
        assert found is not None
        if found[1] is not None:
            out = found[1](values)
            assert out.shape == values.shape
            assert np.isfinite(out).all()
            assert 0 <= out.min() <= out.max() <= 1


def test_every_kind_that_psd_tools_reads_is_known():
    fills = {Tag.SOLID_COLOR_SHEET_SETTING, Tag.GRADIENT_FILL_SETTING, Tag.PATTERN_FILL_SETTING}
    for tag in set(ADJUSTMENT_TYPES) - fills:
        assert adjustment_of(layer(**{tag.name: b""}), RGB) is not None, tag
