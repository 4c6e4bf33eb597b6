"""ART's joint decoder: one vision transformer over the latents of all layers of a design, to RGBA (ART, section 3.1).

It stands where the decoder of a 3-channel VAE cannot give alpha: the layers of a design, decoded together, tell each
other what is transparent. Every region is a box that its tokens fill, so only boxes are decoded; ART's rule that the
rest of a canvas has an alpha of -1 is then the transparent canvas that a caller places the boxes on.

Shapes: T tokens, p x p latents of a token, N = T p p latents, c channels of a latent, C = c p p channels of a token,
M width of the model, H heads, K head dim, R regions, t px of a token's side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn

from model.attention import QKV, Backend, attend
from model.codecs.base import LayerCodec, check_sizes, cut, exact
from model.codecs.vae import GrayCodec
from model.errors import CheckpointError, CodecError, LayoutError
from model.folder import loading
from model.regions import Regions
from model.rope import rotate, rotations
from model.settings import JointSettings, check_part

CHANNELS = 4
_ENCODER, _DECODER = "encoder", "decoder"


class JointBlock(nn.Module):
    """A pre-norm block of a ViT with rotary positions, over packed latents."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))

    def forward(self, x_NM: Tensor, rotations_NK: Tensor, lengths: Sequence[int]) -> Tensor:
        """``lengths``: latents of each design, which see each other alone."""
        x_NM = x_NM + self.to_out(self._attend(self.norm1(x_NM), rotations_NK, lengths))
        out: Tensor = x_NM + self.mlp(self.norm2(x_NM))
        return out

    def _attend(self, x_NM: Tensor, rotations_NK: Tensor, lengths: Sequence[int]) -> Tensor:
        query, key, value = self.to_qkv(x_NM).view(len(x_NM), 3, self.heads, -1).unbind(1)
        image = QKV(rotate(query, rotations_NK), rotate(key, rotations_NK), value)
        no_text = QKV(*(part[:0] for part in image))
        _, out_NHK = attend(no_text, image, [(0, length) for length in lengths], Backend.AUTO)
        return out_NHK.flatten(1)


class JointDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Packed tokens of whole designs to RGBA pixels; by default ART's ViT-B with 85,265,920 parameters ("86M").

    It takes tokens as the transformer does, normalised and packed (c, p, p) as Qwen-Image packs them, c =
    ``latent_channels`` and p = ``patch_size``; a latent becomes ``latent_px`` x ``latent_px`` px. ``axes_dims_rope``:
    dims of a head for the rotary positions of layer, y and x; there are no other positions.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["JointBlock"]
    _repeated_blocks: ClassVar[list[str]] = ["JointBlock"]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 16,
        patch_size: int = 2,
        latent_px: int = 8,
        num_layers: int = 12,
        attention_head_dim: int = 64,
        num_attention_heads: int = 12,
        mlp_ratio: int = 4,
        axes_dims_rope: tuple[int, int, int] = (16, 24, 24),
        rope_theta: float = 10_000.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if sum(axes_dims_rope) != attention_head_dim or any(dim % 2 for dim in axes_dims_rope):
            axes = list(axes_dims_rope)
            raise CodecError(f"axes_dims_rope {axes} must be even and add to attention_head_dim {attention_head_dim}")
        width = num_attention_heads * attention_head_dim
        self.proj_in = nn.Linear(latent_channels, width)
        self.blocks = nn.ModuleList(JointBlock(width, num_attention_heads, mlp_ratio) for _ in range(num_layers))
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.proj_out = nn.Linear(width, latent_px * latent_px * CHANNELS)
        self.patch, self.latent_px = patch_size, latent_px
        self.token_px, self.token_dim = latent_px * patch_size, latent_channels * patch_size**2
        self.axes, self.theta = axes_dims_rope, rope_theta
        self.gradient_checkpointing = False

    @classmethod
    def from_pretrained(cls, path: Any, **options: Any) -> Self:
        """Load a folder or a hub repository, from safetensors alone.

        Raises:
            CheckpointError: its settings are out of bounds, or it lacks parameters.
        """
        where = {name: options[name] for name in ("subfolder", "local_files_only") if name in options}
        check_part(path, cls, JointSettings, **where)
        model: Self = super().from_pretrained(  # type: ignore[no-untyped-call]
            path, **{**options, "use_safetensors": True}
        )
        if missing := [name for name, parameter in model.named_parameters() if parameter.is_meta]:
            raise CheckpointError(f"the joint decoder in {path} lacks {missing[0]} (of {len(missing)} parameters)")
        return model

    def forward(self, tokens_TC: Tensor, regions: Regions) -> Tensor:
        """Straight RGBA of about -1 to 1, ``[T t t, 4]``: the pictures of the regions one after another, row-major.

        It is in the order of a micro-batch's ``pixels``, and is not clamped, so that a loss has gradients everywhere.

        Raises:
            CodecError: there are not as many tokens as the regions have, or they are of another width, or a region is
                too large.
            LayoutError: there is no region, or one is a condition.
        """
        self._check(tokens_TC, regions)
        area = self.patch * self.patch
        positions_N3 = latent_positions(regions.positions_T3, self.patch)
        rotations_NK = rotations(positions_N3, self.axes, self.theta)
        lengths = [length * area for length in regions.lengths]
        x_NM = self.proj_in(tokens_TC.reshape(len(tokens_TC), -1, area).transpose(1, 2).flatten(0, 1))
        for block in self.blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                x_NM = self._gradient_checkpointing_func(block, x_NM, rotations_NK, lengths)
            else:
                x_NM = block(x_NM, rotations_NK, lengths)
        return _row_major(self.proj_out(self.norm_out(x_NM)), regions.sizes, self.patch, self.latent_px)

    @torch.no_grad()
    def decode_regions(self, tokens_TC: Tensor, regions: Regions) -> list[Tensor]:
        """The picture of each region, straight RGBA u8 ``[h t, w t, 4]``, wherever the tokens and the regions lie.

        What is transparent is black: no loss says anything about a colour that is not seen.

        Raises:
            CodecError, LayoutError: as ``forward``, or a pixel is no number.
        """
        weight = self.proj_in.weight
        regions = regions.to(weight.device)
        with exact(weight.device):
            pixels_P4 = self(tokens_TC.to(weight.device, weight.dtype), regions).float()  # type: ignore[operator]
        if not bool((finite_P := pixels_P4.isfinite().all(dim=1)).all()):
            token = int(finite_P.int().argmin()) // self.token_px**2
            key = regions.keys[int(regions.design[regions.region_T[token]])]
            raise CodecError(f"design {key} decodes to NaN or infinity; its tokens do, or use a decoder in bfloat16")
        pixels_P4 = pixels_P4.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
        return cut(pixels_P4 * (pixels_P4[:, 3:] > 0), regions.sizes, self.token_px)

    def _check(self, tokens_TC: Tensor, regions: Regions) -> None:
        if len(regions) == 0:
            raise LayoutError("there is no region to decode; pass over micro-batches without a design")
        check_sizes(regions.sizes, self.token_px)
        if tuple(tokens_TC.shape) != (regions.tokens, self.token_dim):
            raise CodecError(
                f"tokens {list(tokens_TC.shape)} for regions of {[regions.tokens, self.token_dim]}; "
                "use the decoder of the checkpoint, and the tokens of these regions alone"
            )
        if regions.condition.any():
            key = regions.keys[int(regions.design[int(regions.condition.int().argmax())])]
            raise LayoutError(
                f"design {key}: a condition stands where its layer does and is not decoded; leave it out, of the "
                "regions with select(~condition) and of the tokens",
                key,
            )


class JointCodec(LayerCodec):
    """The encoder of one codec with a joint decoder. A picture that is decoded alone is a design of one layer."""

    def __init__(self, encoder: LayerCodec, decoder: JointDecoder) -> None:
        """Raises CodecError: the decoder was made for tokens of another size or width."""
        if (encoder.token_px, encoder.token_dim) != (decoder.token_px, decoder.token_dim):
            raise CodecError(
                f"{type(encoder).__name__} makes tokens of {encoder.token_px} px and {encoder.token_dim} channels, the "
                f"joint decoder takes {decoder.token_px} px and {decoder.token_dim}; use those trained together"
            )
        self.encoder, self.decoder = encoder, decoder
        self.token_px, self.token_dim = encoder.token_px, encoder.token_dim

    @classmethod
    def load(cls, path: str | Path, *, device: torch.device | str = "cpu") -> JointCodec:
        """Load what ``save`` wrote, safetensors only.

        Raises:
            CheckpointError: a part is missing or damaged. CodecError: the two do not fit.
        """
        for name in (_ENCODER, _DECODER):
            if not (Path(path) / name).is_dir():  # for a path that is none, diffusers would ask a hub
                raise CheckpointError(f"{Path(path) / name} is missing: the checkpoint is not whole; copy it again")
        encoder = GrayCodec.load(Path(path) / _ENCODER, device=device, local_files_only=True)
        with loading(f"no joint decoder at {Path(path) / _DECODER}"):
            decoder = JointDecoder.from_pretrained(Path(path) / _DECODER, local_files_only=True)
        return cls(encoder, decoder.to(device))

    def save(self, folder: Path) -> None:
        """Write both parts, side by side.

        Raises:
            CodecError: the encoder is not ART's, which sees a layer over gray.
        """
        if not isinstance(self.encoder, GrayCodec):
            raise CodecError(f"a joint codec is saved with a GrayCodec to encode, not {type(self.encoder).__name__}")
        self.encoder.save(folder / _ENCODER)
        self.decoder.save_pretrained(folder / _DECODER)

    @property
    def channel_std(self) -> list[float]:
        return self.encoder.channel_std

    def encode(self, pictures: Sequence[Tensor]) -> Tensor:
        return self.encoder.encode(pictures)

    def decode(self, tokens_TC: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        self.check_tokens(tokens_TC, sizes)
        if not sizes:
            return []
        shapes = torch.tensor(sizes, device=tokens_TC.device).flip(1)
        number = torch.arange(len(sizes), device=tokens_TC.device)
        boxes = torch.cat([torch.zeros_like(shapes), shapes], dim=1)
        given = torch.zeros_like(number, dtype=torch.bool)
        regions = Regions.of(
            boxes=boxes,
            layer=torch.zeros_like(number),
            design=number,
            clean=given,
            condition=given,
            canvas=shapes,
            visible=boxes,
        )
        return self.decode_regions(tokens_TC, regions)

    def decode_regions(self, tokens_TC: Tensor, regions: Regions) -> list[Tensor]:
        return self.decoder.decode_regions(tokens_TC, regions)


def latent_positions(positions_T3: Tensor, patch: int) -> Tensor:
    """[N, 3]: layer, y and x of the ``patch`` x ``patch`` latents of each token, row-major inside it.

    A token at y has latents at ``patch * y`` to ``patch * y + patch - 1``: position 0 of both grids begins at the same
    pixel. Where the visible box has an odd number of tokens this is not the centred grid of its latents but that grid
    moved, by the same for all regions of the design; rotary attention sees differences alone.
    """
    inside = torch.arange(patch * patch, device=positions_T3.device)
    offsets = torch.stack([torch.zeros_like(inside), inside // patch, inside % patch], dim=1)
    scale = torch.tensor([1, patch, patch], device=positions_T3.device)
    return (positions_T3[:, None] * scale + offsets).flatten(0, 1)


def _row_major(tiles_NV: Tensor, sizes: Sequence[tuple[int, int]], patch: int, side: int) -> Tensor:
    """[T t t, 4]: the pixels of each region row-major, from the ``side`` x ``side`` RGBA tiles of its latents."""
    tiles = tiles_NV.view(-1, patch, patch, side, side, CHANNELS).transpose(2, 3)
    tiles = tiles.reshape(-1, patch * side, patch * side, CHANNELS)
    pieces = torch.split(tiles, [height * width for height, width in sizes])
    pictures = []
    for piece, (height, width) in zip(pieces, sizes, strict=True):
        pictures.append(piece.view(height, width, *piece.shape[1:]).transpose(1, 2).reshape(-1, CHANNELS))
    return torch.cat(pictures)
