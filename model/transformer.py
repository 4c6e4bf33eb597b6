"""The region transformer: Qwen-Image's blocks over the packed regions of several designs.

Shapes: D designs, R regions, T image tokens, S text tokens, C channels of a token, E width of the text, M width of the
model, H heads, K head dim, B rows of modulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from diffusers import QwenImageTransformer2DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import get_parameter_dtype
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformerBlock
from torch import Tensor, nn

from model.attention import QKV, Backend, Spans, attend
from model.errors import CheckpointError, CodecError, LayoutError
from model.flow import Preconditioning
from model.gather import rows_of
from model.regions import Regions
from model.rope import rotate, rotations
from model.settings import STD_RANGE, drop_unknown

NEW_PARAMETERS = ("cond_token_embed", "layer_embed")
"""What Qwen-Image's checkpoints lack. They begin at 0, which changes nothing."""

KIND_EMBED = "time_text_embed.addition_t_embedding.weight"
"""What tells RGB from RGBA pictures. Qwen-Image lacks it too, and where it is asked for it begins at 0."""


@dataclass(frozen=True, eq=False)
class Packing:
    """What the blocks need beside the tokens; the same for every step of a sampler.

    ``lengths``: of the text and the image of each design; ``spans``: where the designs lie, for attention.
    ``image_rows`` and ``text_rows`` [T], [S]: the row of the modulation that each token takes, None where there is one
    row alone. ``out_rows`` [T]: as ``image_rows``, without the difference of clean. ``image_rotations`` and
    ``text_rotations``: [T, K / 2], [S, K / 2].
    """

    lengths: list[tuple[int, int]]
    spans: Spans
    image_rows: Tensor | None
    text_rows: Tensor | None
    out_rows: Tensor | None
    image_rotations: Tensor
    text_rotations: Tensor


class RegionBlock(QwenImageTransformerBlock):  # type: ignore[misc]
    """A block of Qwen-Image, with its parameters, over packed tokens."""

    attention_backend: Backend = Backend.AUTO

    def forward(
        self, hidden_states: Tensor, encoder_hidden_states: Tensor, temb: Tensor, packing: Packing
    ) -> tuple[Tensor, Tensor]:
        """``hidden_states`` [T, M], ``encoder_hidden_states`` [S, M], ``temb`` [B, M]; the text, then the image."""
        image_TM, text_SM = hidden_states, encoder_hidden_states
        image_mod, text_mod = self.img_mod(temb).chunk(6, dim=-1), self.txt_mod(temb).chunk(6, dim=-1)
        to_image, to_text = _Modulation(image_mod, packing.image_rows), _Modulation(text_mod, packing.text_rows)

        image_out, text_out = self._attend(
            to_image.before(0, self.img_norm1(image_TM)), to_text.before(0, self.txt_norm1(text_SM)), packing
        )
        image_TM = to_image.after(0, image_TM, image_out)
        text_SM = to_text.after(0, text_SM, text_out)
        image_TM = to_image.after(1, image_TM, self.img_mlp(to_image.before(1, self.img_norm2(image_TM))))
        text_SM = to_text.after(1, text_SM, self.txt_mlp(to_text.before(1, self.txt_norm2(text_SM))))
        if image_TM.dtype == torch.float16:  # as Qwen-Image's own block: its values leave what half precision holds
            text_SM, image_TM = (x.clip(-65504, 65504) for x in (text_SM, image_TM))
        return text_SM, image_TM

    def _attend(self, image_TM: Tensor, text_SM: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        attn, heads = self.attn, (self.attn.heads, -1)
        image = QKV(*(project(image_TM).unflatten(-1, heads) for project in (attn.to_q, attn.to_k, attn.to_v)))
        added = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
        text = QKV(*(project(text_SM).unflatten(-1, heads) for project in added))
        image = QKV(
            rotate(attn.norm_q(image.query), packing.image_rotations).to(image.value.dtype),
            rotate(attn.norm_k(image.key), packing.image_rotations).to(image.value.dtype),
            image.value,
        )
        text = QKV(
            rotate(attn.norm_added_q(text.query), packing.text_rotations).to(text.value.dtype),
            rotate(attn.norm_added_k(text.key), packing.text_rotations).to(text.value.dtype),
            text.value,
        )
        text_SHK, image_THK = attend(text, image, packing.lengths, self.attention_backend, packing.spans)
        return attn.to_out[1](attn.to_out[0](image_THK.flatten(1))), attn.to_add_out(text_SHK.flatten(1))


@dataclass(frozen=True, eq=False)
class _Modulation:
    """Shift, scale and gate [B, M] before and after attention (0) and the MLP (1); ``rows``: the row of each token."""

    values: Sequence[Tensor]
    rows: Tensor | None

    def before(self, half: int, x: Tensor) -> Tensor:
        return torch.addcmul(self._value(half, 0), x, 1 + self._value(half, 1))

    def after(self, half: int, x: Tensor, change: Tensor) -> Tensor:
        return torch.addcmul(x, self._value(half, 2), change)

    def _value(self, half: int, which: int) -> Tensor:
        value = self.values[3 * half + which]
        return value if self.rows is None else rows_of(value, self.rows)


class RegionTransformer(QwenImageTransformer2DModel):  # type: ignore[misc]
    """MRT's transformer (section 3), with the parameter names of diffusers' Qwen-Image.

    It is also ART's and Qwen-Image-Layered's. Diffusers' own class opens a folder of it and leaves out what is new;
    where the settings below have their defaults and ``cond_token_embed`` is 0, the two are the same function.

    Beside the settings of Qwen-Image: ``rope_theta``; ``gate_init``: what the gates of new weights begin at (None: as
    diffusers draws them); ``layer_slots``: layer numbers with a learned embedding (ART has 52; 0: none, the rotary
    positions tell layers apart); ``channel_std``: the standard deviation of each channel of a clean token, by which the
    velocity is preconditioned, None for weights that were trained without.
    """

    _no_split_modules: ClassVar[list[str]] = ["RegionBlock"]
    _repeated_blocks: ClassVar[list[str]] = ["RegionBlock"]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        patch_size: int = 2,
        in_channels: int = 64,
        out_channels: int | None = 16,
        num_layers: int = 60,
        attention_head_dim: int = 128,
        num_attention_heads: int = 24,
        joint_attention_dim: int = 3584,
        guidance_embeds: bool = False,
        axes_dims_rope: tuple[int, int, int] = (16, 56, 56),
        zero_cond_t: bool = False,
        use_additional_t_cond: bool = False,
        use_layer3d_rope: bool = False,
        rope_theta: float = 10_000.0,
        gate_init: float | None = None,
        layer_slots: int = 0,
        channel_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            patch_size=patch_size,
            in_channels=in_channels,
            out_channels=out_channels,
            num_layers=0,
            attention_head_dim=attention_head_dim,
            num_attention_heads=num_attention_heads,
            joint_attention_dim=joint_attention_dim,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=axes_dims_rope,
            zero_cond_t=zero_cond_t,
            use_additional_t_cond=use_additional_t_cond,
            use_layer3d_rope=use_layer3d_rope,
        )
        self.register_to_config(num_layers=num_layers)
        self._check_std(channel_std)
        width = num_attention_heads * attention_head_dim
        self.transformer_blocks = nn.ModuleList(
            RegionBlock(width, num_attention_heads, attention_head_dim, zero_cond_t=zero_cond_t)
            for _ in range(num_layers)
        )
        self.cond_token_embed = nn.Parameter(torch.zeros(width))
        self.layer_embed = nn.Parameter(torch.zeros(layer_slots, width)) if layer_slots else None
        if gate_init is not None:
            self._open_gates(gate_init)

    @classmethod
    def from_pretrained(cls, path: Any, **options: Any) -> Self:
        """Load a folder or a hub repository of ours or of diffusers' Qwen-Image.

        Settings that are none of this class are not kept: saved, they would be refused. ``use_additional_t_cond`` asked
        for here makes Qwen-Image's weights those that Qwen-Image-Layered began with.

        Raises:
            CheckpointError: it lacks parameters that are not new, or has some of another shape.
        """
        options |= {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
        model: Self
        model, found = super().from_pretrained(path, **options)
        for name, has, wants in found["mismatched_keys"]:
            shapes = f"shape {list(has)}, these settings want {list(wants)}"
            raise CheckpointError(f"{name} in the checkpoint has {shapes}; load it with its own settings")
        model._complete(found["missing_keys"], (KIND_EMBED,) if options.get("use_additional_t_cond") else ())
        drop_unknown(model)
        return model

    @classmethod
    def without_weights(cls, settings: Mapping[str, Any]) -> Self:
        """One of these settings on the meta device, for weights to come; of settings, it keeps those of this class."""
        with torch.device("meta"):
            model: Self = cls.from_config(dict(settings))
        drop_unknown(model)
        return model

    def set_attention(self, backend: Backend) -> None:
        """Choose how all blocks attend."""
        for block in self._blocks():
            block.attention_backend = backend

    def pack(self, regions: Regions, text_lengths: Sequence[int]) -> Packing:
        """What a forward pass needs beside tokens; make it once for the steps of a sampler.

        Raises:
            LayoutError: more layers than the checkpoint has positions for, or not one text length a design.
        """
        config = self.config
        if len(text_lengths) != len(regions.keys):
            key = next(iter(regions.keys[len(text_lengths) :]), None)
            which = f"; design {key} has none" if key else ""
            raise LayoutError(f"{len(text_lengths)} texts for {len(regions.keys)} designs{which}; give each one", key)
        self._check_layers(regions)
        device, designs = regions.boxes.device, len(regions.keys)
        design_T = regions.of_tokens(regions.design)
        lengths = torch.tensor(list(text_lengths), dtype=torch.long, device=device)
        text_design_S = torch.arange(designs, device=device).repeat_interleave(lengths, output_size=sum(text_lengths))
        first_S = (lengths.cumsum(0) - lengths)[text_design_S]
        text_S = torch.arange(len(text_design_S), device=device) - first_S + regions.extent[text_design_S]
        split = bool(config.zero_cond_t)
        rows = design_T + designs * regions.of_tokens(regions.clean) if split else design_T
        plain = designs == 1 and not split
        axes, theta = config.axes_dims_rope, config.rope_theta
        pairs = list(zip(text_lengths, regions.lengths, strict=True))
        return Packing(
            lengths=pairs,
            spans=Spans.of(pairs, device),
            image_rows=None if plain else rows,
            text_rows=None if plain else text_design_S,
            out_rows=None if plain else design_T,
            image_rotations=rotations(regions.positions_T3, axes, theta),
            text_rotations=rotations(text_S[:, None].expand(-1, 3), axes, theta),
        )

    def forward(
        self,
        tokens_TC: Tensor,
        text_SE: Tensor,
        timestep_D: Tensor,
        regions: Regions,
        packing: Packing,
        kind_D: Tensor | None = None,
    ) -> Tensor:
        """The velocity of every token ``[T, C]``; that of clean ones means nothing.

        ``tokens_TC``: clean ones as they are, others noised to ``timestep_D`` (1 is noise, 0 data). ``text_SE``: the
        text tokens of the designs one after another. All three may be more precise than the weights, and float32 is
        best: the velocity has the tokens' type. ``kind_D``: RGB or RGBA, where the checkpoint tells them apart.
        """
        # What the layer computes in, which is not what it is stored in under diffusers' layerwise casting. To ask the
        # whole model would take longer than a small one runs.
        wiener, dtype = self._precondition(timestep_D, regions), get_parameter_dtype(self.img_in)
        image_TM = self.img_in((tokens_TC if wiener is None else tokens_TC / wiener.spread).to(dtype))
        image_TM = image_TM + regions.of_tokens(regions.condition)[:, None] * self.cond_token_embed
        if self.layer_embed is not None:
            image_TM = image_TM + rows_of(self.layer_embed, regions.of_tokens(regions.layer))
        text_SM = self.txt_in(self.txt_norm(text_SE.to(dtype)))
        temb_BM = self._timesteps(timestep_D, image_TM, kind_D)
        for block in self.transformer_blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                text_SM, image_TM = self._gradient_checkpointing_func(block, image_TM, text_SM, temb_BM, packing)
            else:
                text_SM, image_TM = block(image_TM, text_SM, temb_BM, packing)
        out_TC: Tensor = self.proj_out(self._norm_out(image_TM, temb_BM, packing))
        return (out_TC if wiener is None else wiener.skip * tokens_TC + wiener.out * out_TC).to(tokens_TC.dtype)

    def _precondition(self, timestep_D: Tensor, regions: Regions) -> Preconditioning | None:
        if self.config.channel_std is None:
            return None
        sigma_T = timestep_D.float()[regions.of_tokens(regions.design)] * regions.target_T
        return Preconditioning.at(sigma_T, torch.tensor(self.config.channel_std, device=sigma_T.device))

    def _timesteps(self, timestep_D: Tensor, like: Tensor, kind_D: Tensor | None) -> Tensor:
        """Embedded timesteps of all designs; behind them those of clean tokens, at 0, where these have their own."""
        if self.config.zero_cond_t:
            timestep_D = torch.cat([timestep_D, torch.zeros_like(timestep_D)])
            kind_D = None if kind_D is None else torch.cat([kind_D, kind_D])
        out: Tensor = self.time_text_embed(timestep_D, like, kind_D)
        return out

    def _norm_out(self, image_TM: Tensor, temb_BM: Tensor, packing: Packing) -> Tensor:
        norm = self.norm_out
        scale, shift = norm.linear(norm.silu(temb_BM).to(image_TM.dtype)).chunk(2, dim=-1)
        if packing.out_rows is not None:
            scale, shift = (rows_of(value, packing.out_rows) for value in (scale, shift))
        out: Tensor = norm.norm(image_TM) * (1 + scale) + shift
        return out

    def _check_std(self, channel_std: Sequence[float] | None) -> None:
        if channel_std is None:
            return
        least, most = STD_RANGE
        if len(channel_std) != self.config.in_channels or not all(least <= std <= most for std in channel_std):
            wanted = f"{self.config.in_channels} positive numbers, from {least:g} to {most:g}"
            raise CodecError(f"channel_std must be {wanted}; take those of the codec")

    def _check_layers(self, regions: Regions) -> None:
        slots = self.config.layer_slots
        beyond = (regions.layer < 0) | (regions.layer >= slots)
        if slots and beyond.any():
            at = int(beyond.int().argmax())
            key = regions.keys[int(regions.design[at])]
            have = f"layer {int(regions.layer[at])}, this checkpoint has positions for 0 to {slots - 1}"
            raise LayoutError(f"design {key}: {have}; merge layers until they fit", key)

    def _blocks(self) -> list[Any]:
        return list(self.transformer_blocks)

    def _open_gates(self, gate: float) -> None:
        for block in self._blocks():
            for mod in (block.img_mod[1], block.txt_mod[1]):
                nn.init.zeros_(mod.weight)
                nn.init.zeros_(mod.bias)
                for half in (0, 1):
                    width = mod.out_features // 6
                    nn.init.constant_(mod.bias[(3 * half + 2) * width : (3 * half + 3) * width], gate)

    def _complete(self, missing: Sequence[str], asked: Sequence[str]) -> None:
        """Give new parameters, and others ``asked`` for, their zeros; diffusers leaves them on the meta device."""
        if strange := sorted(set(missing) - {*NEW_PARAMETERS, *asked}):
            more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
            raise CheckpointError(f"the checkpoint lacks {', '.join(strange[:3])}{more}; it is of another model")
        for name in missing:
            part, _, own = name.rpartition(".")
            owner, like = self.get_submodule(part), self.img_in.weight
            zeros = torch.zeros(getattr(owner, own).shape, dtype=like.dtype, device=like.device)
            setattr(owner, own, nn.Parameter(zeros))
