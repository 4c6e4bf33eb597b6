"""Tokens of principal components: what comes back, what they are normalised to, what a checkpoint may not hold."""

from __future__ import annotations

import json
import math
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.codecs.pca import CONFIG, ROUNDING, TENSORS, PcaCodec, PcaSettings
from model.errors import CheckpointError, CodecError

T = 4


def disc(number: int, height: int = 24, width: int = 32) -> Tensor:
    """A disc of one colour with a soft edge, or a fading gradient; black where transparent."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - rng.uniform(0, height), x - rng.uniform(0, width))
    alpha = (rng.uniform(4, 12) - distance).clip(0, 1) if number % 3 else x / (width - 1)
    colour = np.broadcast_to(rng.uniform(0, 255, 3), (height, width, 3))
    picture = np.concatenate([colour, alpha[..., None] * 255], axis=-1).round().astype(np.uint8)
    picture[picture[..., 3] == 0] = 0
    return torch.from_numpy(picture)


def sizes_of(pictures: list[Tensor], t: int = T) -> list[tuple[int, int]]:
    return [(picture.shape[0] // t, picture.shape[1] // t) for picture in pictures]


def fit(count: int = 60, **settings: Any) -> PcaCodec:
    return PcaCodec.fit((disc(n) for n in range(count)), **{"token_px": T, "token_dim": 16, **settings})


@pytest.fixture(scope="module")
def codec() -> PcaCodec:
    return fit()


HELD_OUT = [disc(1000 + n, T * (1 + n % 5), T * (1 + n % 7)) for n in range(20)]


def cost(codec: PcaCodec, pictures: list[Tensor]) -> float:
    """(RGB L1 where there is alpha + 1 - soft IoU of alpha) / 2 over all pixels."""
    back = codec.decode(codec.encode(pictures), sizes_of(pictures))
    a, b = (torch.cat([p.reshape(-1, 4) for p in some]).float() / 255 for some in (pictures, back))
    l1 = (a - b)[a[:, 3] > 0][:, :3].abs().mean()
    return float(l1 + 1 - torch.minimum(a, b)[:, 3].sum() / torch.maximum(a, b)[:, 3].sum()) / 2


@pytest.mark.parametrize("power", [0, 0.5, 1])
@pytest.mark.parametrize("alpha_weight", [1, 2])
def test_all_components_bring_everything_back(power: float, alpha_weight: float) -> None:
    codec = fit(token_dim=T * T * 4, power=power, alpha_weight=alpha_weight)
    back = codec.decode(codec.encode(HELD_OUT), sizes_of(HELD_OUT))
    assert [picture.dtype for picture in back] == [torch.uint8] * len(back)
    assert all(torch.equal(*pair) for pair in zip(back, HELD_OUT, strict=True))


def test_some_components_bring_back_most(codec: PcaCodec) -> None:
    assert cost(codec, HELD_OUT) < 0.05
    assert cost(codec, HELD_OUT) < cost(fit(token_dim=4), HELD_OUT)


def test_gray_tells_something_of_alpha_but_less_than_straight_rgba(codec: PcaCodec) -> None:
    gray, pictures = fit(mode="gray"), [disc(n) for n in range(60)]
    tokens = gray.encode(pictures)
    assert tokens.shape == (sum(h * w for h, w in sizes_of(pictures)), 16)
    error = [
        sum(float((a[..., 3].float() - b[..., 3].float()).square().sum()) for a, b in zip(back, pictures, strict=True))
        for back in (gray.decode(some, sizes_of(pictures)) for some in (tokens, torch.zeros_like(tokens)))
    ]
    assert error[0] < error[1]
    assert cost(gray, HELD_OUT) > 2 * cost(codec, HELD_OUT)


def test_gray_cannot_tell_the_middle_from_nothing() -> None:
    """The picture on gray of an opaque gray patch is nearly that of a transparent one."""
    gray = fit(mode="gray")
    middle = torch.full((T, T, 4), 128, dtype=torch.uint8)
    middle[..., 3] = 255
    assert torch.allclose(gray.encode([middle]), gray.encode([torch.zeros_like(middle)]), atol=0.1)


def test_noise_on_tokens_does_least_harm_half_way() -> None:
    """Of mean square 1 at every power, so the same noise: what it adds to pixels, and 0 and 1 alike."""
    plain = disc(0)
    harm = {}
    for power in (0.0, 0.5, 1.0):
        codec = fit(power=power)
        tokens = codec.encode([plain])
        noisy = tokens + 0.02 * torch.randn(200, *tokens.shape, generator=torch.Generator().manual_seed(0))
        back = torch.stack([codec.decode(some, sizes_of([plain]))[0] for some in noisy])[..., 3].float()
        harm[power] = float((back - codec.decode(tokens, sizes_of([plain]))[0][..., 3]).square().mean())
    assert harm[0.5] < 0.9 * min(harm[0.0], harm[1.0])


@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_tokens_of_the_fit_are_uncorrelated_with_the_std_that_is_said(power: float) -> None:
    codec = fit(power=power)
    tokens = codec.encode([disc(n) for n in range(60)]).double()
    covariance = tokens.T @ tokens / len(tokens)
    std = torch.tensor(codec.channel_std, dtype=torch.float64)
    assert torch.allclose(covariance, torch.diag(std**2), atol=1e-4)
    assert torch.allclose(tokens.mean(dim=0), torch.zeros(16, dtype=torch.float64), atol=1e-4)
    assert math.isclose(float((std**2).mean()), 1, rel_tol=1e-5)
    assert power != 1 or torch.allclose(std, torch.ones_like(std), atol=1e-5)


def test_the_power_is_of_the_std() -> None:
    raw, half = (torch.tensor(fit(power=power).channel_std) for power in (0, 0.5))
    assert torch.allclose(half / half[0], (raw / raw[0]).sqrt(), rtol=1e-4)
    assert (raw.diff() <= 0).all()


def test_pictures_are_encoded_one_after_another_row_by_row(codec: PcaCodec) -> None:
    opaque = [picture.clone().index_fill_(2, torch.tensor(3), 255) for picture in HELD_OUT]
    tokens = codec.encode(opaque)
    alone = torch.cat([codec.encode([picture]) for picture in opaque])
    assert torch.allclose(tokens, alone, atol=1e-5)
    patches = [
        p[y : y + T, x : x + T] for p in opaque for y in range(0, p.shape[0], T) for x in range(0, p.shape[1], T)
    ]
    assert torch.allclose(tokens, codec.encode(patches), atol=1e-5)


def test_what_is_transparent_is_black_and_a_given_colour_there_changes_nothing(codec: PcaCodec) -> None:
    coloured = [torch.where(p[..., 3:] > 0, p, torch.tensor([250, 3, 99, 0], dtype=torch.uint8)) for p in HELD_OUT]
    assert torch.equal(codec.encode(coloured), codec.encode(HELD_OUT))
    for picture in codec.decode(codec.encode(HELD_OUT), sizes_of(HELD_OUT)):
        assert (picture[picture[..., 3] == 0] == 0).all()


def test_tokens_of_any_size_decode_within_bytes(codec: PcaCodec) -> None:
    wild = torch.randn(6, 16, dtype=torch.bfloat16) * 1000
    assert [tuple(p.shape) for p in codec.decode(wild, [(1, 2), (4, 1)])] == [(T, 2 * T, 4), (4 * T, T, 4)]
    assert codec.encode([]).shape == (0, 16)
    assert codec.decode(codec.encode([]), []) == []


def test_a_fit_does_not_depend_on_order_or_chunks(monkeypatch: pytest.MonkeyPatch, codec: PcaCodec) -> None:
    assert torch.equal(fit().encode(HELD_OUT), codec.encode(HELD_OUT))
    monkeypatch.setattr("model.codecs.pca.CHUNK", 50)
    other = PcaCodec.fit((disc(n) for n in reversed(range(60))), token_px=T, token_dim=16)
    assert torch.allclose(other.encode(HELD_OUT), codec.encode(HELD_OUT), atol=1e-3)


def test_a_fit_holds_few_pictures_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.codecs.pca.CHUNK", 50)
    alive: list[int] = []
    seen: list[int] = []

    def pictures() -> Iterator[Tensor]:
        for n in range(40):
            picture = disc(n)
            alive.append(n)
            weakref.finalize(picture, alive.remove, n)
            seen.append(len(alive))
            yield picture
            del picture

    PcaCodec.fit(pictures(), token_px=T, token_dim=16)
    assert max(seen) <= 5


def test_constant_pictures_have_a_finite_codec() -> None:
    """No component is divided by less than the error of 8 bits."""
    plain = torch.full((32, 32, 4), 77, dtype=torch.uint8)
    codec = PcaCodec.fit([plain] * 2, token_px=T, token_dim=16, power=1)
    assert codec.channel_std == pytest.approx([1] * 16)
    assert codec.encode([plain]).abs().max() < 1e-2
    assert torch.equal(codec.decode(codec.encode([plain]), [(8, 8)])[0], plain)
    assert 0 < ROUNDING < 2 / 255


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_px": 0}, "token_px is 0"),
        ({"token_px": 33}, "not 1 to 32"),
        ({"token_dim": 65}, "token_dim is 65, not 1 to 64"),
        ({"token_dim": 49, "mode": "gray"}, "token_dim is 49, not 1 to 48"),
        ({"alpha_weight": 0}, "alpha_weight is 0"),
        ({"alpha_weight": math.nan}, "alpha_weight is nan"),
        ({"power": 1.5}, "power is 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        fit(**change)


def test_a_fit_says_what_it_lacks(codec: PcaCodec) -> None:
    with pytest.raises(CodecError, match="48 patches of 4 px are too few to fit 64 values"):
        fit(1)
    with pytest.raises(CodecError, match="0 patches"):
        PcaCodec.fit([])
    with pytest.raises(CodecError, match=r"picture 1 of the fit is torch\.uint8 \[24, 31, 4\]"):
        PcaCodec.fit([disc(0), disc(0)[:, 1:]], token_px=T)
    with pytest.raises(CodecError, match=r"picture 0 is torch\.float32"):
        codec.encode([disc(0).float()])
    with pytest.raises(CodecError, match="tokens"):
        codec.decode(torch.zeros(3, 16), [(2, 2)])
    with pytest.raises(CodecError, match="NaN"):
        codec.decode(torch.full((4, 16), math.nan), [(2, 2)])


@pytest.mark.parametrize("mode", ["rgba", "gray"])
def test_a_saved_codec_is_the_same(mode: str, tmp_path: Path) -> None:
    codec = fit(mode=mode, power=0.25)
    codec.save(tmp_path / "codec")
    loaded = PcaCodec.load(tmp_path / "codec")
    tokens = codec.encode(HELD_OUT)
    assert loaded.settings == codec.settings and loaded.channel_std == codec.channel_std
    assert torch.equal(loaded.encode(HELD_OUT), tokens)
    pairs = zip(loaded.decode(tokens, sizes_of(HELD_OUT)), codec.decode(tokens, sizes_of(HELD_OUT)), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert sorted(path.name for path in (tmp_path / "codec").iterdir()) == [TENSORS, CONFIG]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "vae"}, "vae"),
        ({"mode": 3}, "gives no mode"),
        ({"token_px": 1 << 40}, "not 1 to 32"),
        ({"token_px": True}, "gives no token_px"),
        ({"token_dim": 8}, "too large|is F32"),
        ({"token_dim": 17}, "is F32"),
        ({"alpha_weight": "2"}, "gives no alpha_weight"),
        ({"power": math.inf}, "power is inf"),
        ({"more": 1}, "does not give"),
    ],
)
def test_a_configuration_is_believed_in_nothing(
    change: dict[str, Any], message: str, codec: PcaCodec, tmp_path: Path
) -> None:
    codec.save(tmp_path)
    given = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**given, **change}))
    with pytest.raises(CheckpointError, match=message):
        PcaCodec.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 60_000, " " * 70_000, "\ud800"])
def test_a_damaged_configuration_is_an_error_of_the_checkpoint(text: str, codec: PcaCodec, tmp_path: Path) -> None:
    codec.save(tmp_path)
    (tmp_path / CONFIG).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(CheckpointError, match="copy it again"):
        PcaCodec.load(tmp_path)


def spoiled(tensors: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    if how == "missing":
        del tensors["std"]
    elif how == "more":
        tensors["more"] = torch.zeros(1)
    elif how == "shape":
        tensors["basis"] = tensors["basis"].T.contiguous()
    elif how == "type":
        tensors["mean"] = tensors["mean"].half()
    elif how == "nan":
        tensors["basis"][3, 3] = math.nan
    elif how == "zero":
        tensors["std"][2] = 0
    else:
        tensors["mean"] = torch.zeros(1 << 20)
    return tensors


@pytest.mark.parametrize("how", ["missing", "more", "shape", "type", "nan", "zero", "large"])
def test_tensors_are_believed_in_nothing(how: str, codec: PcaCodec, tmp_path: Path) -> None:
    codec.save(tmp_path)
    save_file(spoiled(load_file(tmp_path / TENSORS), how), tmp_path / TENSORS)
    with pytest.raises(CheckpointError, match="copy it again"):
        PcaCodec.load(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 100, 2000])
def test_a_file_that_is_cut_off_or_gone_is_an_error_of_the_checkpoint(
    keep: int, codec: PcaCodec, tmp_path: Path
) -> None:
    codec.save(tmp_path)
    data = (tmp_path / TENSORS).read_bytes()
    (tmp_path / TENSORS).write_bytes(data[:keep])
    with pytest.raises(CheckpointError):
        PcaCodec.load(tmp_path)
    (tmp_path / TENSORS).unlink()
    with pytest.raises(CheckpointError):
        PcaCodec.load(tmp_path)


def test_the_default_has_the_tokens_of_the_small_presets() -> None:
    from model.presets import PRESETS

    settings = PcaSettings()
    small = [preset for preset in PRESETS.values() if preset.codec == "pca"]
    assert {(p.token_px, p.settings["in_channels"]) for p in small} == {(settings.token_px, settings.token_dim)}


@pytest.mark.gpu
def test_an_accelerator_encodes_the_same() -> None:
    codec = fit()
    tokens = codec.encode([picture.cuda() for picture in HELD_OUT])
    assert tokens.is_cuda and torch.allclose(tokens.cpu(), codec.encode(HELD_OUT), atol=1e-2)
    assert codec.decode(tokens, sizes_of(HELD_OUT))[0].is_cuda
