"""Image members: no pixel is lost, and a hostile file costs nothing."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from schemas.errors import ImageError
from schemas.images import WEBP_MAX_SIDE, Codec, decode, encode

pictures = npst.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(4)))


@given(pictures, st.sampled_from(Codec), st.sampled_from([0, 1, 4, 6]))
@settings(max_examples=60)
def test_every_picture_comes_back_exactly(pixels: np.ndarray, codec: Codec, effort: int) -> None:
    assert np.array_equal(decode(encode(pixels, codec, effort)), pixels)


@pytest.mark.parametrize("codec", list(Codec))
def test_colour_under_transparency_is_kept(codec: Codec) -> None:
    pixels = np.zeros((20, 30, 4), np.uint8)
    pixels[..., :3] = np.random.default_rng(0).integers(0, 256, (20, 30, 3))
    assert np.array_equal(decode(encode(pixels, codec)), pixels)


@pytest.mark.parametrize("codec", list(Codec))
def test_the_same_picture_gives_the_same_bytes(codec: Codec) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 40, 4), np.uint8)
    assert encode(pixels, codec) == encode(pixels[:, ::1].copy(), codec)
    assert encode(np.asfortranarray(pixels), codec) == encode(pixels, codec)


def test_the_codec_is_what_its_name_says() -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    assert Image.open(io.BytesIO(encode(pixels, Codec.WEBP))).format == "WEBP"
    assert Image.open(io.BytesIO(encode(pixels, Codec.PNG))).format == "PNG"


def test_sides_at_and_over_the_limit_of_webp() -> None:
    assert decode(encode(np.zeros((1, WEBP_MAX_SIDE, 4), np.uint8))).shape == (1, WEBP_MAX_SIDE, 4)
    over = np.zeros((WEBP_MAX_SIDE + 1, 1, 4), np.uint8)
    with pytest.raises(ImageError, match="use the png codec"):
        encode(over)
    assert decode(encode(over, Codec.PNG)).shape == over.shape


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 0, 4)])
def test_an_empty_picture_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ImageError, match="cannot be stored"):
        encode(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("codec", list(Codec))
def test_a_picture_of_another_size_than_its_record_says(codec: Codec) -> None:
    data = encode(np.zeros((5, 7, 4), np.uint8), codec)
    assert decode(data, size=(7, 5)).shape == (5, 7, 4)
    with pytest.raises(ImageError, match="7 x 5 px, its record says 5 x 7"):
        decode(data, size=(5, 7))


@pytest.mark.parametrize("codec", list(Codec))
def test_a_truncated_or_damaged_picture_is_an_image_error(codec: Codec) -> None:
    data = encode(np.random.default_rng(2).integers(0, 256, (64, 64, 4), np.uint8), codec)
    for bad in (b"", data[:7], data[: len(data) // 2], b"\0" * len(data), data[:20] + b"\xff" * 40 + data[60:]):
        with pytest.raises(ImageError):
            decode(bad)


def test_other_formats_are_not_opened() -> None:
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "BMP")
    with pytest.raises(ImageError, match="damaged"):
        decode(out.getvalue())


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is ``width`` x ``height``."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [16_385, 60_000, 2**31 - 1])
def test_a_bomb_is_refused_before_memory_is_taken(side: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ImageError):
            decode(png_bomb(side, side))
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_the_limit_on_pixels_can_be_lower() -> None:
    data = encode(np.zeros((10, 10, 4), np.uint8))
    assert decode(data, max_pixels=100).shape == (10, 10, 4)
    with pytest.raises(ImageError, match="over the limit of 99 px"):
        decode(data, max_pixels=99)
