"""A codec without a network: the principal components of patches of straight RGBA.

It is fitted in seconds on a CPU and its tokens have the width of Qwen-Image's, so a model of any size learns to make
layers before there is a VAE to feed it. A patch of t x t px is V = 4 t t values in [-1, 1]: straight colour, bled under
transparent pixels (``model.codecs.bleed``), and alpha times ``alpha_weight``. With the mean m, the first C components
B and their standard deviations s of the pictures of the fit, the token of a patch x is

    B (x - m) / (s ** power * scale),    scale ** 2 = mean over channels of s ** (2 - 2 power)

so that the mean square of clean tokens is 1 and the standard deviation of channel c is s_c ** (1 - power) / scale:
power 0 leaves the components as they are, power 1 makes all of them alike. Half way, noise on tokens does the least
harm to pixels (by Cauchy and Schwarz; 0 and 1 do equally much), and the colour of a patch, by far the strongest, is not
what a sampler finds long before everything else. No s counts as less than the error of 8 bits.

In mode ``gray`` the codec sees what a 3-channel encoder is given, the picture on gray ``(0.5 a + 0.5) * RGB`` (ART),
and decodes by a linear map from components to straight RGBA, of least squares with a ridge over the same pictures:
how much of alpha a linear decoder finds in gray, and no more than that, can be read off it.

Shapes: T tokens of P = t t px, C channels of a token, V values that are encoded, W = 4 P values that are decoded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.codecs.base import LayerCodec, check_picture, exact
from model.codecs.bleed import bleed
from model.errors import CodecError
from model.folder import check_files, loading

CONFIG, TENSORS = "config.json", "basis.safetensors"
MAX_TOKEN_PX = 32
MAX_TEXT = 1 << 16
"""Bytes of the configuration, and of the names and shapes at the head of the tensors."""

ROUNDING = 2 / 255 / math.sqrt(12)
"""Standard deviation of the error of 8 bits, in values of [-1, 1]."""

RIDGE = 1e-4
"""In mode gray, of the mean variance of the components."""

CHUNK = 8192
"""Patches that are encoded together in a fit."""


class Mode(StrEnum):
    """What is encoded: straight colour and alpha, or the picture on gray."""

    RGBA = "rgba"
    GRAY = "gray"


@dataclass(frozen=True)
class PcaSettings:
    """``alpha_weight`` is of mode rgba: in gray there is no alpha to weigh.

    Raises:
        CodecError: a setting is out of its range.
    """

    mode: Mode = Mode.RGBA
    token_px: int = 8
    token_dim: int = 64
    alpha_weight: float = 2.0
    power: float = 0.5

    def __post_init__(self) -> None:
        checks = {
            f"token_px is {self.token_px}, not 1 to {MAX_TOKEN_PX}": 1 <= self.token_px <= MAX_TOKEN_PX,
            f"token_dim is {self.token_dim}, not 1 to {self.values}": 1 <= self.token_dim <= self.values,
            f"alpha_weight is {self.alpha_weight}, not between 0 and 100": 0 < self.alpha_weight <= 100,
            f"power is {self.power}, not 0 to 1": 0 <= self.power <= 1,
        }
        wrong = [message for message, fine in checks.items() if not fine]
        if wrong:
            raise CodecError(f"codec pca: {wrong[0]}")

    @property
    def values(self) -> int:
        """V."""
        return self.token_px**2 * (4 if self.mode is Mode.RGBA else 3)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors of a fit: float32 all of them."""
        shapes: dict[str, tuple[int, ...]] = {
            "mean": (self.values,),
            "basis": (self.token_dim, self.values),
            "std": (self.token_dim,),
        }
        if self.mode is Mode.GRAY:
            width = self.token_px**2 * 4
            shapes |= {"decoder_mean": (width,), "decoder": (self.token_dim, width)}
        return shapes


class _Maps(NamedTuple):
    """The codec as two affine maps, of values to tokens, [V, C] and [C], and of those to RGBA, [C, W] and [W]."""

    encode: Tensor
    encode_bias: Tensor
    decode: Tensor
    decode_bias: Tensor


class PcaCodec(LayerCodec):
    """See the module. ``tensors``: of a fit, of the shapes that the settings give; it works where its input is.

    Other pictures give another basis, whose tokens mean something else: it belongs into the checkpoint of the model.
    """

    def __init__(self, settings: PcaSettings, tensors: Mapping[str, Tensor]) -> None:
        self.settings = settings
        self.token_px, self.token_dim = settings.token_px, settings.token_dim
        self._tensors = {name: tensors[name].to("cpu", torch.float32) for name in settings.shapes()}
        self._maps = _maps(settings, self._tensors)

    @property
    def channel_std(self) -> list[float]:
        """[C], of the pictures of the fit; the mean of the squares is 1."""
        std_C = self._tensors["std"]
        return [float(value) for value in std_C / _divisor(std_C, self.settings.power)]

    @classmethod
    def fit(
        cls,
        pictures: Iterable[Tensor],
        *,
        mode: Mode | str = Mode.RGBA,
        token_px: int = 8,
        token_dim: int = 64,
        alpha_weight: float = 2.0,
        power: float = 0.5,
    ) -> Self:
        """The codec of these pictures, straight RGBA u8 ``[h t, w t, 4]``, each looked at once and forgotten.

        It holds ``CHUNK`` patches at a time, or the largest picture, so that an iterator may be as long as one likes.
        A trainer gives it the layers of its own data as they are encoded later (``cut`` makes them of micro-batches),
        before there is a transformer, which wants its ``channel_std``; some 300 designs do. One rank fits and saves,
        the others load: no two fits of different pictures have the same tokens.

        Raises:
            CodecError: a setting or a picture is wrong, or all together have fewer patches than a patch has values.
        """
        settings = PcaSettings(Mode(mode), token_px, token_dim, alpha_weight, power)
        moments = _Moments()
        for some in _gathered(pictures, token_px):
            patches_TP4, sizes = _patches(some, token_px)
            rows_TV = _values(patches_TP4, sizes, settings)
            if settings.mode is Mode.GRAY:
                straight_TW = _unit(bleed(patches_TP4, sizes)).flatten(1)
                rows_TV = torch.cat([rows_TV, straight_TW], dim=1)
            moments.add(rows_TV)
        if moments.count < settings.values:
            raise CodecError(
                f"{moments.count} patches of {token_px} px are too few to fit {settings.values} values a patch; "
                "give more or larger pictures"
            )
        return cls(settings, _solve(moments, settings))

    @torch.no_grad()
    def encode(self, pictures: Sequence[Tensor]) -> Tensor:
        self.check_pictures(pictures)
        if not pictures:
            return torch.zeros(0, self.token_dim)
        maps = self._on(pictures[0].device)
        rows_TV = _values(*_patches(pictures, self.token_px), self.settings)
        with exact(pictures[0].device):
            return torch.addmm(maps.encode_bias, rows_TV, maps.encode)

    @torch.no_grad()
    def decode(self, tokens_TC: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """As ``LayerCodec.decode``; what is transparent is black."""
        self.check_tokens(tokens_TC, sizes)
        maps, t = self._on(tokens_TC.device), self.token_px
        with exact(tokens_TC.device):
            rows_TW = torch.addmm(maps.decode_bias, tokens_TC.to(torch.float32), maps.decode)
        if not bool(rows_TW.isfinite().all()):
            raise CodecError("tokens are NaN, infinite or absurd; the model that made them has diverged")
        pixels_TP4 = rows_TW.add_(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8).view(-1, t * t, 4)
        pixels_TP4 *= pixels_TP4[..., 3:] > 0
        pieces = torch.split(pixels_TP4, [height * width for height, width in sizes])
        return [
            piece.view(height, width, t, t, 4).transpose(1, 2).reshape(height * t, width * t, 4)
            for piece, (height, width) in zip(pieces, sizes, strict=True)
        ]

    def save(self, folder: Path | str) -> None:
        """Write its settings and its tensors into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(asdict(self.settings), indent=2) + "\n", encoding="utf-8")
        save_file(self._tensors, folder / TENSORS)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """The codec of a folder that ``save`` wrote, which is believed in nothing.

        Raises:
            CheckpointError: a file is missing, damaged or not of this codec.
        """
        folder = Path(folder)
        with loading(f"{folder} is not a codec of principal components; copy it again"):
            check_files(folder)
            settings = _read_settings(folder / CONFIG)
            return cls(settings, _read_tensors(folder / TENSORS, settings.shapes()))

    def _on(self, device: torch.device) -> _Maps:
        """The maps on a device, which stay there."""
        if self._maps.encode.device != device:
            self._maps = _Maps(*(part.to(device) for part in self._maps))
        return self._maps


def _divisor(std_C: Tensor, power: float) -> Tensor:
    """[C], of the components: see the module."""
    scale = (std_C.double() ** (2 - 2 * power)).mean().sqrt()
    return (std_C.double() ** power * scale).to(std_C.dtype)


def _maps(settings: PcaSettings, tensors: Mapping[str, Tensor]) -> _Maps:
    divisor_C = _divisor(tensors["std"], settings.power)
    basis_CV, mean_V = tensors["basis"], tensors["mean"]
    encode_VC = (basis_CV / divisor_C[:, None]).T.contiguous()
    if settings.mode is Mode.GRAY:
        decode_CW, decode_W = tensors["decoder"], tensors["decoder_mean"]
    else:
        weights_V = torch.tensor([1.0, 1.0, 1.0, settings.alpha_weight]).repeat(settings.token_px**2)
        decode_CW, decode_W = basis_CV / weights_V, mean_V / weights_V
    return _Maps(encode_VC, -(mean_V @ encode_VC), decode_CW * divisor_C[:, None], decode_W)


def _patches(pictures: Sequence[Tensor], t: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """u8 [T, P, 4]: the patches of all pictures, one after another, row-major; and the size of each in patches."""
    sizes = [(picture.shape[0] // t, picture.shape[1] // t) for picture in pictures]
    counts = [height * width for height, width in sizes]
    out_Ttt4 = torch.empty(sum(counts), t, t, 4, dtype=torch.uint8, device=pictures[0].device)
    for picture, piece, (height, width) in zip(pictures, torch.split(out_Ttt4, counts), sizes, strict=True):
        piece.view(height, width, t, t, 4).copy_(picture.reshape(height, t, width, t, 4).transpose(1, 2))
    return out_Ttt4.flatten(1, 2), sizes


def _values(patches_TP4: Tensor, sizes: Sequence[tuple[int, int]], settings: PcaSettings) -> Tensor:
    """f32 [T, V]: what is projected."""
    if settings.mode is Mode.GRAY:
        unit_TP4 = _unit(patches_TP4)
        return ((unit_TP4[..., 3:] * 0.5 + 0.5) * unit_TP4[..., :3]).flatten(1)
    unit_TP4 = _unit(bleed(patches_TP4, sizes))
    unit_TP4[..., 3] *= settings.alpha_weight
    return unit_TP4.flatten(1)


def _unit(pixels: Tensor) -> Tensor:
    return pixels.to(torch.float32).mul_(1 / 127.5).sub_(1)


class _Moments:
    """Count, sum [K] and sum of products [K, K] of rows of values, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = self._products = torch.zeros((), dtype=torch.float64)

    def add(self, rows_TK: Tensor) -> None:
        for rows in torch.split(rows_TK, CHUNK):
            exact = rows.double()
            self.count += len(rows)
            self._sum = self._sum + exact.sum(dim=0).cpu()
            self._products = self._products + (exact.T @ exact).cpu()

    def solve(self) -> tuple[Tensor, Tensor]:
        """Mean [K] and covariance [K, K]."""
        mean_K = self._sum / self.count
        return mean_K, self._products / self.count - torch.outer(mean_K, mean_K)


def _gathered(pictures: Iterable[Tensor], t: int) -> Iterator[list[Tensor]]:
    """Pictures that have some ``CHUNK`` patches together."""
    some: list[Tensor] = []
    patches = 0
    for number, picture in enumerate(pictures):
        check_picture(picture, t, f"picture {number} of the fit")
        some.append(picture)
        patches += picture.shape[0] * picture.shape[1] // t**2
        if patches >= CHUNK:
            yield some
            some, patches = [], 0
    if some:
        yield some


def _solve(moments: _Moments, settings: PcaSettings) -> dict[str, Tensor]:
    """The tensors of a codec from the moments of [values] or, in gray, of [values, straight RGBA]."""
    mean_K, covariance_KK = moments.solve()
    size, channels = settings.values, settings.token_dim
    variance_V, vectors_VV = torch.linalg.eigh(covariance_KK[:size, :size])
    variance_C, basis_CV = variance_V[-channels:].flip(0), vectors_VV[:, -channels:].flip(1).T
    basis_CV = basis_CV * _signs(basis_CV)[:, None]
    out = {"mean": mean_K[:size], "basis": basis_CV, "std": variance_C.clamp(min=ROUNDING**2).sqrt()}
    if settings.mode is Mode.GRAY:
        shared_CW = basis_CV @ covariance_KK[:size, size:]
        ridge = max(RIDGE * float(variance_C.clamp(min=0).mean()), ROUNDING**2)
        out |= {"decoder_mean": mean_K[size:], "decoder": shared_CW / (variance_C.clamp(min=0) + ridge)[:, None]}
    return {name: tensor.to(torch.float32).contiguous() for name, tensor in out.items()}


def _signs(basis_CV: Tensor) -> Tensor:
    """[C] of 1 or -1: the side on which a sequence without any symmetry lies, so that rounding flips no component."""
    golden = (math.sqrt(5) - 1) / 2
    sequence_V = (torch.arange(1, basis_CV.shape[1] + 1, dtype=basis_CV.dtype) * golden) % 1 - 0.5
    return torch.where(basis_CV @ sequence_V < 0, -1.0, 1.0)


def _read_settings(path: Path) -> PcaSettings:
    with path.open("rb") as file:
        data = file.read(MAX_TEXT + 1)
    if len(data) > MAX_TEXT:
        raise CodecError(f"{path.name} is too large")
    read: Any = json.loads(data)
    kinds: dict[str, tuple[type, ...]] = {
        "mode": (str,),
        "token_px": (int,),
        "token_dim": (int,),
        "alpha_weight": (int, float),
        "power": (int, float),
    }
    if not isinstance(read, dict) or set(read) != {field.name for field in fields(PcaSettings)}:
        raise CodecError(f"{path.name} does not give {', '.join(kinds)}")
    wrong = [name for name, kind in kinds.items() if not isinstance(read[name], kind) or isinstance(read[name], bool)]
    if wrong:
        raise CodecError(f"{path.name} gives no {wrong[0]}")
    return PcaSettings(**{**read, "mode": Mode(read["mode"])})


def _read_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of these names and shapes, all of them float32 and finite; nothing larger is read."""
    if path.stat().st_size > MAX_TEXT + 4 * sum(map(math.prod, shapes.values())):
        raise CodecError(f"{path.name} is too large for its settings")
    out = {}
    with safe_open(path, framework="pt") as file:
        if set(file.keys()) != set(shapes):
            raise CodecError(f"{path.name} does not hold {', '.join(shapes)}")
        for name, shape in shapes.items():
            part = file.get_slice(name)
            if tuple(part.get_shape()) != shape or part.get_dtype() != "F32":
                raise CodecError(f"{name} is {part.get_dtype()} {part.get_shape()}, not F32 {list(shape)}")
            out[name] = file.get_tensor(name).clone()
            if not out[name].isfinite().all():
                raise CodecError(f"{name} is not finite")
    if not bool((out["std"] > ROUNDING / 2).all()):
        raise CodecError("std is less than that of rounding, which no fit makes")
    return out
