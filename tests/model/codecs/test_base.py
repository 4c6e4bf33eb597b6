"""What holds of every codec: what it refuses, and what a picture's surroundings do to its tokens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from model.codecs.base import MAX_PICTURE, MAX_PIXELS, LayerCodec, cut, encode_in_context
from model.codecs.inflate import LayerVae
from model.codecs.vae import RgbaCodec
from model.errors import CodecError

BOXES = [(1, 0, 3, 2), (0, 0, 4, 3), (2, 2, 4, 3)]
CANVASES = [(4, 3), (4, 3), (5, 4)]


class Pixels(LayerCodec):
    """A token is its own pixels: it looks nowhere else."""

    token_px, token_dim = 4, 64

    @property
    def channel_std(self) -> list[float]:
        return [1.0] * self.token_dim

    def encode(self, pictures: Sequence[Tensor]) -> Tensor:
        self.check_pictures(pictures)
        tiles = [one.view(len(one) // 4, 4, -1, 4, 4).transpose(1, 2).reshape(-1, 64).float() for one in pictures]
        return torch.cat([torch.empty(0, 64), *tiles])

    def decode(self, tokens_TC: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        self.check_tokens(tokens_TC, sizes)
        pieces = tokens_TC.split([height * width for height, width in sizes])
        return [
            piece.view(height, width, 4, 4, 4).transpose(1, 2).reshape(4 * height, 4 * width, 4).to(torch.uint8)
            for piece, (height, width) in zip(pieces, sizes, strict=True)
        ]


@pytest.fixture(scope="module")
def vae() -> RgbaCodec:
    torch.manual_seed(0)
    return RgbaCodec(LayerVae(base_dim=8, num_res_blocks=1, input_channels=4).eval())


def pictures(token_px: int) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [((y1 - y0) * token_px, (x1 - x0) * token_px, 4) for x0, y0, x1, y1 in BOXES]
    return [torch.randint(0, 256, shape, dtype=torch.uint8) for shape in shapes]


@pytest.mark.parametrize("margin", [0, 1, 7, None])
def test_a_codec_that_looks_at_each_token_alone_needs_no_context(margin: int | None) -> None:
    codec, given = Pixels(), pictures(4)
    tokens = encode_in_context(codec, given, BOXES, CANVASES, margin)
    assert torch.equal(tokens, codec.encode(given))
    sizes = [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in BOXES]
    assert all(torch.equal(one, out) for one, out in zip(given, codec.decode(tokens, sizes), strict=True))


def test_a_vae_sees_what_is_around_a_picture(vae: RgbaCodec) -> None:
    given = pictures(16)
    alone = vae.encode(given)
    far, near = (encode_in_context(vae, given, BOXES, CANVASES, margin) for margin in (None, 1))
    lengths = [4, 12, 2]
    differences = [float((a - b).abs().max()) for a, b in zip(alone.split(lengths), far.split(lengths), strict=True)]
    assert differences[0] > 0.01
    assert differences[1] == 0  # it fills its canvas
    assert differences[2] > 0.01
    assert torch.equal(near.split(lengths)[1], alone.split(lengths)[1])
    assert not torch.equal(near, alone)
    torch.testing.assert_close(encode_in_context(vae, given, BOXES, CANVASES, 0), alone, rtol=1e-4, atol=1e-5)


def test_no_margin_is_the_whole_canvas(vae: RgbaCodec) -> None:
    picture, (x0, y0, x1, y1) = pictures(16)[0], BOXES[0]
    canvas = torch.zeros(3 * 16, 4 * 16, 4, dtype=torch.uint8)
    canvas[y0 * 16 : y1 * 16, x0 * 16 : x1 * 16] = picture
    wanted = vae.encode([canvas]).view(3, 4, -1)[y0:y1, x0:x1].flatten(0, 1)
    for margin in (None, 9):
        assert torch.equal(encode_in_context(vae, [picture], BOXES[:1], CANVASES[:1], margin), wanted)


def test_no_pictures_have_no_tokens() -> None:
    assert tuple(encode_in_context(Pixels(), [], [], [], None).shape) == (0, 64)


@pytest.mark.parametrize("box", [(1, 0, 3, 3), (0, 0, 1, 1), (2, 0, 1, 2)])
def test_a_picture_that_does_not_fill_its_box_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(CodecError, match=r"picture 0 of \[8, 8\] px does not fill"):
        encode_in_context(Pixels(), pictures(4)[:1], [box], [(4, 3)], 1)


@pytest.mark.parametrize("box", [(3, 0, 5, 2), (0, 2, 2, 4), (-1, 0, 1, 2), (0, -1, 2, 1)])
@pytest.mark.parametrize("margin", [0, 1, None])
def test_a_box_beyond_its_canvas_is_refused(box: tuple[int, int, int, int], margin: int | None) -> None:
    with pytest.raises(CodecError, match=r"picture 0 in .* is not inside its canvas of \(4, 3\) tokens"):
        encode_in_context(Pixels(), pictures(4)[:1], [box], [(4, 3)], margin)


def test_a_huge_canvas_is_refused_before_it_is_made() -> None:
    side = MAX_PICTURE  # tokens: 65,536 px a side and 16 GiB
    for canvas in ((side, side), (side // 4, side // 4)):
        with pytest.raises(CodecError, match=r"with its margin; .* fit: give it a smaller one"):
            encode_in_context(Pixels(), pictures(4)[:1], [(1, 0, 3, 2)], [canvas], None)
    assert len(encode_in_context(Pixels(), pictures(4)[:1], [(1, 0, 3, 2)], [(side, side)], 1)) == 4


def test_the_pictures_of_a_micro_batch_are_views_of_its_pixels() -> None:
    given = pictures(4)
    packed = torch.cat([one.view(-1, 4) for one in given])
    pieces = cut(packed, [(2, 2), (3, 4), (1, 2)], 4)
    assert all(torch.equal(one, piece) for one, piece in zip(given, pieces, strict=True))
    assert pieces[0].data_ptr() == packed.data_ptr()


@pytest.mark.parametrize(
    "picture",
    [
        torch.zeros(4, 6, 4, dtype=torch.uint8),
        torch.zeros(4, 4, 3, dtype=torch.uint8),
        torch.zeros(4, 4, dtype=torch.uint8),
        torch.zeros(4, 0, 4, dtype=torch.uint8),
        torch.zeros(4, 4, 4),
    ],
    ids=lambda one: f"{one.dtype} {list(one.shape)}",
)
def test_pictures_that_are_not_of_whole_tokens_are_refused(picture: Tensor) -> None:
    with pytest.raises(CodecError, match=r"picture 1 is .*; pad it outward"):
        Pixels().check_pictures([torch.zeros(4, 8, 4, dtype=torch.uint8), picture])


ROWS = MAX_PIXELS // MAX_PICTURE
TOO_LARGE = [(4, MAX_PICTURE + 4), (MAX_PICTURE + 4, 4), (ROWS + 4, MAX_PICTURE), (MAX_PICTURE, MAX_PICTURE)]


@pytest.mark.parametrize(("height", "width"), TOO_LARGE)
def test_pictures_that_are_too_large_are_refused(height: int, width: int) -> None:
    one = torch.zeros(1, dtype=torch.uint8)
    with pytest.raises(CodecError, match=rf"picture 0 is of {width} x {height} px; .* 67,108,864 .*: scale it down"):
        Pixels().check_pictures([one.expand(height, width, 4)])
    Pixels().check_pictures([one.expand(ROWS, MAX_PICTURE, 4)])


@pytest.mark.parametrize(("height", "width"), TOO_LARGE)
def test_sizes_that_are_too_large_are_refused(height: int, width: int) -> None:
    """Before anything is made of them: tokens take no memory where they are one that is repeated."""
    tokens = torch.zeros(1, 1).expand(height * width // 16, 64)
    with pytest.raises(CodecError, match=r"picture 0 of .* is too large; it may have 1 to 16384 px a side"):
        Pixels().decode(tokens, [(height // 4, width // 4)])
    Pixels().check_tokens(tokens[:1].expand(MAX_PIXELS // 16, 64), [(ROWS // 4, MAX_PICTURE // 4)])


def test_tokens_of_other_pictures_or_another_codec_are_refused() -> None:
    codec = Pixels()
    codec.check_tokens(torch.zeros(7, 64), [(2, 2), (1, 3)])
    for shape in ((6, 64), (7, 63), (7,)):
        with pytest.raises(CodecError, match=r"for pictures of \[7, 64\]; use the codec of the checkpoint"):
            codec.check_tokens(torch.zeros(*shape), [(2, 2), (1, 3)])
    with pytest.raises(CodecError, match=r"picture 1 has \[0, 3\] tokens; leave empty pictures out"):
        codec.check_tokens(torch.zeros(4, 64), [(2, 2), (0, 3)])


def test_a_transformer_of_other_channels_is_refused() -> None:
    Pixels().check_fits(64)
    with pytest.raises(
        CodecError, match="takes tokens of 16 channels, Pixels makes 64; use the codec of the checkpoint"
    ):
        Pixels().check_fits(16)
