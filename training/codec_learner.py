"""What of a codec is trained, and what its pictures of the layers of designs are worth.

Everything is drawn from the key of a design, so that a step is the same at every world size. Shapes: D designs, R
regions, B pictures of one size, K parts of the loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from model.codecs.base import LayerCodec, cut, exact
from model.codecs.joint import JointCodec
from model.codecs.vae import RgbaCodec, VaeCodec, by_size
from model.pictures import flatten
from model.regions import Regions
from model.variants import visible_tokens
from training.batch import MicroBatch
from training.codec_losses import Losses
from training.streaming.draws import generator


@dataclass(frozen=True, eq=False)
class Layers:
    """The pictures of R regions, u8 ``[h t, w t, 4]`` straight RGBA, the composed ones of their designs among them.

    ``epoch`` and ``seed`` are those of what is drawn for them.
    """

    regions: Regions
    pictures: list[Tensor]
    seed: int
    epoch: int

    @classmethod
    def of(cls, batch: MicroBatch, token_px: int, device: torch.device, *, seed: int = 0) -> Layers:
        """Those of a micro-batch of text-to-layers, which has a design."""
        moved = batch.to(device)
        regions = Regions.of(
            boxes=moved["boxes"].long(),
            layer=moved["layer"].long(),
            design=moved["design"].long(),
            clean=moved["clean"],
            condition=moved["condition"],
            canvas=moved["canvas"].long(),
            visible=visible_tokens(moved["visible"], token_px),
            keys=batch.keys,
        )
        return cls(regions, cut(moved["pixels"], regions.sizes, token_px), seed, batch.epoch)

    def draw(self, row: int, purpose: str) -> np.random.Generator:
        """The generator of a region for a purpose."""
        key, layer = self._names[row]
        return generator(key, self.seed, self.epoch, f"{purpose} {layer}")

    @cached_property
    def _names(self) -> list[tuple[str, int]]:
        """The design and the layer of each region."""
        keys, designs = self.regions.keys, self.regions.design.tolist()
        return [(keys[design], layer) for design, layer in zip(designs, self.regions.layer.tolist(), strict=True)]

    def ground(self, row: int) -> tuple[int, int, int]:
        """The colour, 0 to 255, that a picture is laid over."""
        red, green, blue = self.draw(row, "ground").integers(0, 256, 3).tolist()
        return red, green, blue

    def some_opaque(self, share: float) -> Layers:
        """The same, a ``share`` of them as RGB pictures: over their ground, with an alpha of 1."""
        pictures = [
            flatten(picture, self.ground(row)) if self.draw(row, "opaque").random() < share else picture
            for row, picture in enumerate(self.pictures)
        ]
        return Layers(self.regions, pictures, self.seed, self.epoch)

    def truth(self, rows: Sequence[int]) -> Tensor:
        """[B, 4, H, W] in [-1, 1]: the pictures of regions of one size."""
        return torch.stack([self.pictures[row] for row in rows]).permute(0, 3, 1, 2).float() / 127.5 - 1

    def grounds(self, rows: Sequence[int]) -> Tensor:
        """[B, 3] in [-1, 1]."""
        colours = torch.tensor([self.ground(row) for row in rows], dtype=torch.float32)
        return (colours / 127.5 - 1).to(self.regions.boxes.device)

    @property
    def pixels(self) -> int:
        return sum(picture.shape[0] * picture.shape[1] for picture in self.pictures)


class CodecLearner(nn.Module, ABC):
    """A codec of which ``trained`` has the parameters that move; everything else of it is frozen."""

    def __init__(self, codec: LayerCodec, trained: nn.Module, losses: Losses) -> None:
        super().__init__()
        self.codec, self.trained, self.losses = codec, trained, losses

    @abstractmethod
    def errors(self, layers: Layers) -> Iterator[tuple[list[int], Tensor]]:
        """Some regions at a time, by their rows, and what they have of each part of the loss: [B, K], sums over px.

        What comes next needs no gradient of what was before: go backward in between, and its memory is free.
        """


class VaeLearner(CodecLearner):
    """A VAE whose encoder is trained too where it takes RGBA; latents are drawn from its posterior then."""

    def __init__(self, codec: VaeCodec, losses: Losses) -> None:
        super().__init__(codec, codec.vae, losses)
        self.vae_codec, self._both = codec, isinstance(codec, RgbaCodec)
        codec.vae.requires_grad_(self._both)
        for part in (codec.vae.decoder, codec.vae.post_quant_conv):
            part.requires_grad_(True)

    def errors(self, layers: Layers) -> Iterator[tuple[list[int], Tensor]]:
        codec = self.vae_codec
        for rows in by_size(layers.regions.sizes, codec.batch_px // codec.token_px**2):
            true_B4HW = layers.truth(rows)
            tokens_BhwC, nats_B = self._encoded(layers, rows, true_B4HW)
            parts_BK = self.losses(codec.decode_float(tokens_BhwC), true_B4HW, layers.grounds(rows))
            yield rows, torch.cat([parts_BK, nats_B[:, None]], dim=1)

    def _encoded(self, layers: Layers, rows: Sequence[int], true_B4HW: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens, and the nats of their posterior over a standard normal."""
        codec = self.vae_codec
        if not self._both:
            with torch.no_grad(), exact(true_B4HW.device):
                return codec.encode_float(true_B4HW), true_B4HW.new_zeros(len(rows))
        posterior = codec.posterior(true_B4HW)
        shape = tuple(posterior.mean.shape[1:])
        drawn = [layers.draw(row, "posterior").standard_normal(shape, np.float32) for row in rows]
        noise_BzHW = torch.from_numpy(np.stack(drawn)).to(true_B4HW.device)
        return codec.pack(posterior.mean + posterior.std * noise_BzHW), posterior.kl()


class JointLearner(CodecLearner):
    """A joint decoder behind a frozen encoder: all layers of all designs of a micro-batch at a time."""

    def __init__(self, codec: JointCodec, losses: Losses) -> None:
        super().__init__(codec, codec.decoder, losses)

    def errors(self, layers: Layers) -> Iterator[tuple[list[int], Tensor]]:
        tokens_TC = self.codec.encode(layers.pictures)
        pixels_P4 = self.trained(tokens_TC, layers.regions).float()
        made = cut(pixels_P4, layers.regions.sizes, self.codec.token_px)
        order: list[int] = []
        parts: list[Tensor] = []
        for rows in by_size(layers.regions.sizes, layers.pixels):
            made_B4HW = torch.stack([made[row] for row in rows]).permute(0, 3, 1, 2)
            parts_BK = self.losses(made_B4HW, layers.truth(rows), layers.grounds(rows))
            parts.append(torch.cat([parts_BK, parts_BK.new_zeros(len(rows), 1)], dim=1))
            order += rows
        yield order, torch.cat(parts)


def learner_of(codec: LayerCodec, losses: Losses) -> CodecLearner:
    """The learner of a codec that ``codec_config.open_codec`` gave."""
    if isinstance(codec, JointCodec):
        return JointLearner(codec, losses)
    if isinstance(codec, VaeCodec):
        return VaeLearner(codec, losses)
    raise TypeError(f"{type(codec).__name__} has no weights that are trained")
