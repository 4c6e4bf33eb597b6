"""Models by name, as data: the settings of the transformer, and which codec and text encoder stand beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from model.errors import ModelError

if TYPE_CHECKING:
    from model.transformer import RegionTransformer


@dataclass(frozen=True)
class Preset:
    """``settings``: of ``RegionTransformer``. ``codec`` and ``text``: names of the codec and the text encoder.

    ``token_px``: side of a token of that codec, for costs that are computed without making one.
    """

    about: str
    settings: Mapping[str, Any]
    codec: str
    text: str
    token_px: int


def _small(blocks: int, heads: int, head_dim: int, axes: tuple[int, int, int], text_width: int) -> Mapping[str, Any]:
    """Weights that start anew on pictures of few tokens learn fastest with these angles (``infra.bench.recipe``)."""
    return MappingProxyType(
        {
            "patch_size": 1,
            "in_channels": 64,
            "out_channels": 64,
            "num_layers": blocks,
            "attention_head_dim": head_dim,
            "num_attention_heads": heads,
            "joint_attention_dim": text_width,
            "axes_dims_rope": axes,
            "zero_cond_t": True,
            "rope_theta": 100.0,
            "gate_init": 0.0,
        }
    )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "tiny": Preset("minutes on a CPU", _small(4, 4, 32, (8, 12, 12), 64), "pca", "bytes", 8),
        "small": Preset("minutes to hours on one GPU", _small(12, 8, 64, (16, 24, 24), 256), "pca", "bytes", 8),
        "qwen-20b": Preset(
            "the public weights of Qwen-Image, clean tokens at time 0 as in Qwen-Image-Edit-2511",
            MappingProxyType(
                {
                    "patch_size": 2,
                    "in_channels": 64,
                    "out_channels": 16,
                    "num_layers": 60,
                    "attention_head_dim": 128,
                    "num_attention_heads": 24,
                    "joint_attention_dim": 3584,
                    "axes_dims_rope": (16, 56, 56),
                    "zero_cond_t": True,
                }
            ),
            "gray",
            "qwen",
            16,
        ),
    }
)


def preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        ModelError: there is none.
    """
    if name not in PRESETS:
        raise ModelError(f"there is no preset {name!r}; choose from {', '.join(PRESETS)}")
    return PRESETS[name]


def config(name: str, **overrides: Any) -> dict[str, Any]:
    """The arguments of ``RegionTransformer`` for a preset, some of them replaced.

    Raises:
        ModelError: there is no such preset.
    """
    return {**preset(name).settings, **overrides}


def transformer(name: str, **overrides: Any) -> RegionTransformer:
    """A preset's transformer with new weights, drawn by torch's global generator; on the default device.

    ``channel_std`` is the codec's to give: without it the velocity is not preconditioned.

    Raises:
        ModelError: there is no such preset.
    """
    from model.transformer import RegionTransformer  # late: it takes seconds to import, and costs need none of it

    out: RegionTransformer = RegionTransformer(**config(name, **overrides))
    return out
