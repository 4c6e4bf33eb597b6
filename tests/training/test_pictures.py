"""Decoding of pictures: the same pixels as the plain way, nothing for a damaged or lying file."""

from __future__ import annotations

import io
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from schemas import images
from schemas.compositing import Rgba
from schemas.errors import ImageError
from schemas.images import Codec
from training.errors import DamageError
from training.streaming.pictures import decode

MUTATIONS = 2000


def drawn(kind: str, width: int = 41, height: int = 23) -> Rgba:
    rng = np.random.default_rng(width * height)
    pixels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    if kind == "smooth":
        pixels = np.sort(pixels, axis=1)
    elif kind == "opaque":
        pixels[..., 3] = 255
    elif kind == "hidden colour":
        pixels[..., 3] = np.where(pixels[..., 3] > 128, 255, 0)
    elif kind == "empty":
        pixels[...] = 0
    return pixels


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("kind", ["noise", "smooth", "opaque", "hidden colour", "empty"])
@pytest.mark.parametrize("size", [(41, 23), (1, 1), (1, 300), (257, 3)])
@pytest.mark.parametrize("effort", [1, 6])
def test_the_pixels_of_the_plain_decoder(codec: Codec, kind: str, size: tuple[int, int], effort: int) -> None:
    pixels = drawn(kind, *size)
    data = images.encode(pixels, codec, effort)
    for given in (data, bytearray(data), memoryview(data)):
        got, opaque = decode(given, size)
        assert np.array_equal(got, pixels)
        assert got.flags.c_contiguous
        assert opaque == bool((pixels[..., 3] == 255).all())
    room = np.zeros((size[1], size[0] + 7, 4), np.uint8)
    there = room[:, 3:-4]
    decode(data, size, there)
    assert np.array_equal(there, pixels)
    assert not room[:, :3].any() and not room[:, -4:].any()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1"])
def test_every_png_of_8_bits(mode: str) -> None:
    data = saved(Image.fromarray(drawn("noise"), "RGBA").convert(mode), "PNG")
    assert np.array_equal(decode(data, (41, 23))[0], images.decode(data))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossy_webp(mode: str) -> None:
    data = saved(Image.fromarray(drawn("smooth"), "RGBA").convert(mode), "WEBP", quality=80)
    got, opaque = decode(data, (41, 23))
    assert np.array_equal(got, images.decode(data))
    assert opaque == (mode == "RGB")


def test_png_of_16_bits_is_refused() -> None:
    data = saved(Image.fromarray(np.zeros((3, 4), np.uint16)), "PNG")
    with pytest.raises(DamageError, match="16 bits a channel"):
        decode(data, (4, 3))


def test_animations() -> None:
    frames = [Image.fromarray(drawn(kind), "RGBA") for kind in ("noise", "smooth")]
    webp = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(DamageError, match="animated"):
        decode(webp, (41, 23))
    png = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode(png, (41, 23))[0], drawn("noise"))


@pytest.mark.parametrize("codec", list(Codec))
def test_another_size_than_the_records(codec: Codec) -> None:
    data = images.encode(drawn("noise"), codec)
    for size in ((23, 41), (41, 24), (0, 0)):
        with pytest.raises(DamageError, match="41 x 23 px, its record says"):
            decode(data, size)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        b"GIF89a" + bytes(80),
        b"RIFF\x20\0\0\0WEBPICCP" + bytes(60),
        b"RIFF\x20\0\0\0WEBPVP8L" + bytes(60),
        b"RIFF\x20\0\0\0WEBPVP8 " + bytes(60),
        images.encode(drawn("noise"))[:20],
        images.encode(drawn("noise"))[:-200],
        images.encode(drawn("noise"), Codec.PNG)[:-200],
        images.encode(drawn("noise"), Codec.PNG)[:24],
    ],
)
def test_what_is_no_picture_is_one_line(data: bytes) -> None:
    with pytest.raises(DamageError) as caught:
        decode(data, (41, 23))
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_is_allocated() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    side = 2**31 - 1
    png = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)) + chunk(b"IDAT", b"")
    )
    with pytest.raises(DamageError, match="over the limit"):
        decode(png, (side, side))
    large = b"RIFF\x20\0\0\0WEBPVP8L" + struct.pack("<IBI", 40, 0x2F, 0x3FFF | 0x3FFF << 14) + bytes(40)
    with pytest.raises(DamageError, match="over the limit"):
        decode(large, (16384, 16384))
    extended = b"RIFF\x20\0\0\0WEBPVP8X" + struct.pack("<IB3xHBHB", 10, 0, 0xFFFF, 0x0F, 0xFFFF, 0x0F) + bytes(40)
    with pytest.raises(DamageError, match="over the limit"):
        decode(extended, (1 << 20, 1 << 20))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_the_extended_header_of_webp_cannot_lie() -> None:
    inner = images.encode(drawn("noise"))[12:]
    head = b"VP8X" + struct.pack("<IB3xHBHB", 10, 0x10, 9, 0, 9, 0)
    data = b"RIFF" + struct.pack("<I", 4 + len(head + inner)) + b"WEBP" + head + inner
    with pytest.raises(DamageError):
        decode(data, (10, 10))


@pytest.mark.parametrize("codec", list(Codec))
def test_mutations_decode_or_are_damage(codec: Codec) -> None:
    rng = np.random.default_rng(7)
    good = images.encode(drawn("smooth"), codec)
    agreed = 0
    for _ in range(MUTATIONS // 2):
        data = bytearray(good)
        for at in (rng.random(rng.integers(1, 4)) ** 3 * len(data)).astype(int):
            data[at] = rng.integers(256)
        if rng.random() < 0.2:
            del data[int(rng.integers(len(data))) :]
        try:
            got, _ = decode(data, (41, 23))
        except DamageError:
            continue
        assert got.shape == (23, 41, 4) and got.dtype == np.uint8
        try:
            plain = images.decode(bytes(data), size=(41, 23))
        except ImageError:
            continue
        assert np.array_equal(got, plain)
        agreed += 1
    assert agreed > 5
