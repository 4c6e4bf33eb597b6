"""Advanced blending options of a layer: knockout, channels, blend-if, and how effects and clipped layers take part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from psd_tools.constants import ChannelID, Tag

from pipelines.formats.psd_colours import Colours
from pipelines.formats.style import PLAIN, Blending, Range

_KNOCKOUTS: tuple[Literal["none", "shallow", "deep"], ...] = ("none", "shallow", "deep")
_FULL = (0, 0xFFFF)


def blending_of(layer: Any, colours: Colours) -> tuple[Blending, list[str]]:
    """A layer's advanced blending, and what of it cannot be drawn."""
    blocks = layer.tagged_blocks
    problems: list[str] = []
    knockout = _setting(blocks, Tag.KNOCKOUT_SETTING, 0)
    if not 0 <= knockout < len(_KNOCKOUTS):
        problems.append("knockout")
        knockout = 0
    if not _setting(blocks, Tag.TRANSPARENCY_SHAPES_LAYER, 1):
        problems.append("transparency-shapes-layer")
    own, below = _ranges(layer._record.blending_ranges, colours)
    found = Blending(
        knockout=_KNOCKOUTS[knockout],
        channels=_channels(blocks.get_data(Tag.CHANNEL_BLENDING_RESTRICTIONS_SETTING), colours),
        own=own,
        below=below,
        clipped_as_group=bool(_setting(blocks, Tag.BLEND_CLIPPING_ELEMENTS, 1)),
        interior_as_group=bool(_setting(blocks, Tag.BLEND_INTERIOR_ELEMENTS, 0)),
        mask_hides_effects=_hidden_by_mask(layer, problems),
    )
    return (PLAIN if found == PLAIN else found), problems


def _channels(restricted: Any, colours: Colours) -> tuple[bool, ...] | None:
    """Which channels a layer writes; the setting names those that it does not."""
    numbers = {value for value in list(restricted or ())[:64] if isinstance(value, int)}
    if colours.count == 1:
        return (False,) * colours.channels if 0 in numbers else None
    written = tuple(channel not in numbers for channel in range(colours.channels))
    return None if all(written) else written


def _ranges(stored: Any, colours: Colours) -> tuple[tuple[Range, ...], tuple[Range, ...]]:
    """Blend-if by the layer's own colour and by what lies under it, for the composite gray and each channel."""
    composite = getattr(stored, "composite_ranges", None)
    channels = list(getattr(stored, "channel_ranges", None) or ())[: colours.count]
    pairs = [(None, composite), *enumerate(channels)]
    return tuple(_restricting(pairs, 0)), tuple(_restricting(pairs, 1))


def _restricting(pairs: Sequence[tuple[int | None, Any]], half: int) -> Iterator[Range]:
    """The ranges that leave something out. Each is stored as two pairs of bytes: where it begins, where it ends."""
    for channel, halves in pairs:
        if halves is None or len(halves) <= half or tuple(halves[half]) == _FULL:
            continue
        first, last = (int(value) & 0xFFFF for value in halves[half])
        low, high = _pair(first), _pair(last)
        if (low, high) != ((0.0, 0.0), (1.0, 1.0)):
            yield Range(channel, low, high)


def _pair(value: int) -> tuple[float, float]:
    """Two bytes as 0..1, the smaller one first."""
    first, second = sorted((value >> 8, value & 0xFF))
    return first / 255, second / 255


def _hidden_by_mask(layer: Any, problems: list[str]) -> bool:
    """Whether the layer's mask hides its effects too; of a pixel and a vector mask one may and the other not."""
    blocks = layer.tagged_blocks
    pixel = bool(_setting(blocks, Tag.LAYER_MASK_AS_GLOBAL_MASK, 0))
    vector = bool(_setting(blocks, Tag.VECTOR_MASK_AS_GLOBAL_MASK, 0))
    masks = (ChannelID.USER_LAYER_MASK, ChannelID.REAL_USER_LAYER_MASK)
    has_pixel = any(info.id in masks for info in layer._record.channel_info)
    has_vector = Tag.VECTOR_MASK_SETTING1 in blocks or Tag.VECTOR_MASK_SETTING2 in blocks
    if has_pixel and has_vector and pixel != vector:
        problems.append("one mask hides the effects")
    return pixel if has_pixel else vector and has_vector


def _setting(blocks: Any, tag: Tag, default: int) -> int:
    value = blocks.get_data(tag, default)
    value = getattr(value, "value", value)
    return int(value) if isinstance(value, int) else default
