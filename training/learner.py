"""What is trained: the transformer and, where it is one of ours, the text encoder, with the codec beside them.

Shapes: D designs, T tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from model.bundle import Bundle
from model.codecs.base import LayerCodec
from model.flow import noised, velocity
from model.tasks import LAYOUTS
from model.text import TextEncoder
from model.transformer import RegionTransformer
from training.examples import Example
from training.noise import Noise


class Learner(nn.Module):
    """A bundle as one module: its parameters are those of the transformer and of a text encoder that is trained.

    A frozen text encoder and the codec are at hand, but none of its modules.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.transformer: RegionTransformer = bundle.transformer
        self.trained_text = bundle.text if isinstance(bundle.text, nn.Module) else None
        self._beside = (bundle,)

    @property
    def bundle(self) -> Bundle:
        """Transformer, codec and text encoder as a checkpoint has them; the parameters are shared."""
        return replace(self._beside[0], transformer=self.transformer)

    @property
    def codec(self) -> LayerCodec:
        return self._beside[0].codec

    @property
    def text(self) -> TextEncoder:
        return self._beside[0].text

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that have a gradient, by name."""
        return ((name, value) for name, value in self.named_parameters() if value.requires_grad)

    def forward(self, example: Example, noise: Noise) -> Tensor:
        """Float32 [D]: for each design the sum, over its noised tokens, of the mean square error of the velocity.

        An example without designs gives an empty tensor that still hangs on every parameter, so that a rank without
        work takes part in the collectives of the others.
        """
        regions, target_T = example.regions, example.regions.target_T
        design_T = regions.of_tokens(regions.design)
        sigma_T = noise.sigma_D[design_T] * target_T
        said = self.text.encode(example.prompts)
        predicted_TC = self.transformer(
            noised(example.tokens, noise.noise_TC, sigma_T),
            said.values.to(example.tokens.device),
            noise.sigma_D,
            regions,
            self.transformer.pack(regions, said.lengths),
            self._kinds(example),
        )
        error_T = (predicted_TC.float() - velocity(example.tokens, noise.noise_TC)).square().mean(dim=1)
        sums_D = torch.zeros(len(example.keys), device=error_T.device)
        out_D: Tensor = sums_D.index_add(0, design_T[target_T], error_T[target_T])
        return out_D

    def _kinds(self, example: Example) -> Tensor | None:
        if not self.transformer.config.use_additional_t_cond:
            return None
        return torch.tensor([LAYOUTS[task].kind for task in example.tasks], device=example.tokens.device)
