"""The region transformer over packed designs: none sees another, and each of its own settings does what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from model.attention import Backend
from model.errors import CodecError, LayoutError
from model.flow import Preconditioning
from model.regions import Regions
from model.tasks import Box, Region, Task, lay_out
from model.transformer import RegionTransformer
from tests.model.tiny_models import CHANNELS, TEXT, TINY, draw, ours, run

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Design:
    """What one design gives to a batch."""

    laid_out: list[Region]
    canvas: tuple[int, int]
    visible: Box
    text: int
    sigma: float
    image_seed: int
    prompt_seed: int

    @property
    def image(self) -> Tensor:
        return draw(sum(region.tokens for region in self.laid_out), CHANNELS, seed=self.image_seed)

    @property
    def prompt(self) -> Tensor:
        return draw(self.text, TEXT, seed=self.prompt_seed)


def design(task: Task, boxes: Sequence[Box], canvas: tuple[int, int], visible: Box, text: int, seed: int) -> Design:
    laid_out = lay_out(task, boxes, canvas, visible, {2})
    return Design(laid_out, canvas, visible, text, 0.15 + 0.2 * seed, seed, seed + 100)


DESIGNS = [
    design(Task.TEXT_TO_LAYERS, [(0, 0, 6, 4), (1, 1, 3, 4)], (6, 4), (0, 0, 6, 4), 5, 1),
    design(Task.IMAGE_TO_LAYERS, [(0, 0, 5, 5), (0, 0, 1, 5), (3, 3, 4, 5)], (5, 5), (1, 1, 4, 4), 1, 2),
    design(Task.RESTYLE, [(0, 0, 3, 4), (1, 2, 3, 3)], (3, 4), (0, 0, 3, 3), 9, 3),
    design(Task.TEXT_TO_RGB, [], (2, 2), (0, 0, 2, 2), 3, 4),
]


def batch(designs: Sequence[Design]) -> Regions:
    return Regions.lay_out([d.laid_out for d in designs], [d.canvas for d in designs], [d.visible for d in designs])


def velocities(model: RegionTransformer, designs: Sequence[Design], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Of each design, packed with the others."""
    regions = batch(designs)
    tokens, text = (torch.cat(x).to(dtype) for x in ([d.image for d in designs], [d.prompt for d in designs]))
    out = run(model, tokens, text, [d.sigma for d in designs], regions, [d.text for d in designs])
    return list(torch.split(out, regions.lengths))


STD = [0.1 * (i + 1) for i in range(CHANNELS)]
MODELS: list[dict[str, Any]] = [
    {},
    {"zero_cond_t": True},
    {
        "zero_cond_t": True,
        "rope_theta": 100.0,
        "layer_slots": 9,
        "channel_std": STD,
    },
]


# Packing


@pytest.mark.parametrize("backend", [Backend.SEGMENTS, Backend.PADDED])
@pytest.mark.parametrize("settings", MODELS, ids=["base", "zero_cond", "all"])
@torch.no_grad()
def test_a_design_is_the_same_beside_any_others(settings: dict[str, Any], backend: Backend) -> None:
    model = ours(**settings)
    alone = [velocities(model, [one])[0] for one in DESIGNS]
    assert all(one.abs().mean() > 0.1 for one in alone)
    model.set_attention(backend)
    for order in [*permutations(range(4)), (0,), (2, 0), (1, 1, 1)]:
        for number, got in zip(order, velocities(model, [DESIGNS[i] for i in order]), strict=True):
            torch.testing.assert_close(got, alone[number], atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("backend", [Backend.SEGMENTS, Backend.PADDED])
@pytest.mark.parametrize("settings", MODELS, ids=["base", "zero_cond", "all"])
def test_gradients_of_a_batch_are_the_sum_of_those_one_by_one(settings: dict[str, Any], backend: Backend) -> None:
    model = ours(**settings)
    model.set_attention(backend)
    for one in DESIGNS:
        velocities(model, [one])[0].square().sum().backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    torch.stack([got.square().sum() for got in velocities(model, DESIGNS)]).sum().backward()
    assert {"cond_token_embed", "img_in.weight", "transformer_blocks.0.attn.to_q.weight"} <= set(wanted)
    for name, parameter in model.named_parameters():
        if name in wanted:
            scale = max(1.0, float(wanted[name].abs().max()))
            torch.testing.assert_close(parameter.grad / scale, wanted[name] / scale, atol=TOLERANCE, rtol=TOLERANCE)


def traced(model: RegionTransformer, designs: Sequence[Design], counted: Sequence[int]) -> list[list[Tensor]]:
    """Of each design the velocity, and the gradients of its tokens, text and time of the velocities ``counted``."""
    regions, like = batch(designs), model.img_in.weight
    tokens, text = ([x.to(like.dtype).requires_grad_() for x in each]
                    for each in ([d.image for d in designs], [d.prompt for d in designs]))  # fmt: skip
    times = torch.tensor([d.sigma for d in designs], dtype=like.dtype, requires_grad=True)
    packing = model.pack(regions, [d.text for d in designs])
    out = model(torch.cat(tokens), torch.cat(text), times, regions, packing).split(regions.lengths)
    grads = torch.autograd.grad(sum(out[number].square().sum() for number in counted), [*tokens, *text, times])
    image, prompt = grads[: len(designs)], grads[len(designs) : -1]
    return [list(each) for each in zip(out, image, prompt, grads[-1], strict=True)]


def same(got: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    for one, other in zip(got, wanted, strict=True):
        scale = other.abs().max()
        assert scale > 1e-2  # a path that there is
        torch.testing.assert_close(one / scale, other / scale, atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", [Backend.SEGMENTS, Backend.PADDED])
@pytest.mark.parametrize("settings", MODELS, ids=["base", "zero_cond", "all"])
def test_gradients_of_a_design_are_those_that_it_has_alone(settings: dict[str, Any], backend: Backend) -> None:
    model = ours(**settings).double()
    alone = [traced(model, [one], [0])[0] for one in DESIGNS]
    model.set_attention(backend)
    for got, wanted in zip(traced(model, DESIGNS, range(4)), alone, strict=True):
        same(got, wanted)
    for number, (_, *grads) in enumerate(traced(model, DESIGNS, [2])):
        assert all(bool(grad.any()) is (number == 2) for grad in grads)


MORE_LAYERS = design(Task.IMAGE_TO_LAYERS, [(0, 0, 5, 5), *[(1, 1, 3, 4)] * 6], (5, 5), (1, 1, 4, 4), 1, 2)


@pytest.mark.parametrize(
    "neighbour",
    [
        replace(DESIGNS[1], image_seed=9),
        replace(DESIGNS[1], prompt_seed=9),
        replace(DESIGNS[1], text=8),
        replace(DESIGNS[1], sigma=0.95),
        MORE_LAYERS,
    ],
    ids=["tokens", "words of the text", "length of the text", "timestep", "layers"],
)
@pytest.mark.parametrize("backend", [Backend.SEGMENTS, Backend.PADDED])
def test_a_changed_neighbour_changes_nothing(neighbour: Design, backend: Backend) -> None:
    model = ours(**MODELS[-1]).double()
    model.set_attention(backend)
    before, after = (traced(model, [DESIGNS[0], each, DESIGNS[2]], range(3)) for each in (DESIGNS[1], neighbour))
    assert before[1][0].shape != after[1][0].shape or not torch.allclose(before[1][0], after[1][0], atol=1e-2)
    for number in (0, 2):
        same(after[number], before[number])


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_packing_says_where_each_design_lies(count: int) -> None:
    designs = DESIGNS[:count]
    packing = ours().pack(batch(designs), [d.text for d in designs])
    sizes = [d.text + sum(region.tokens for region in d.laid_out) for d in designs]
    assert [sum(pair) for pair in packing.lengths] == packing.spans.ends.diff().tolist() == sizes
    assert packing.spans.longest == max(sizes, default=0)


@torch.no_grad()
def test_a_packing_serves_all_steps() -> None:
    model, regions = ours(zero_cond_t=True), batch(DESIGNS)
    packing = model.pack(regions, [d.text for d in DESIGNS])
    tokens, text = torch.cat([d.image for d in DESIGNS]), torch.cat([d.prompt for d in DESIGNS])
    for sigma in (1.0, 0.4):
        sigmas = torch.full((4,), sigma)
        again = model(tokens, text, sigmas, regions, model.pack(regions, [d.text for d in DESIGNS]))
        assert torch.equal(model(tokens, text, sigmas, regions, packing), again)


def test_more_layers_than_a_checkpoint_has_positions_for() -> None:
    model = ours(layer_slots=3)
    with pytest.raises(LayoutError, match="design poster: layer 3, this checkpoint has positions for 0 to 2; merge"):
        regions = [Region(layer, (0, 0, 1, 1)) for layer in range(4)]
        model.pack(Regions.lay_out([regions], [(1, 1)], [(0, 0, 1, 1)], keys=("poster",)), [1])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([1], "1 texts for 2 designs; design b has none; give each one"),
        ([1] * 3, "3 texts for 2 designs; give each one"),
    ],
)
def test_not_one_text_a_design(texts: list[int], message: str) -> None:
    regions = Regions.lay_out([[Region(0, (0, 0, 1, 1))]] * 2, [(1, 1)] * 2, [(0, 0, 1, 1)] * 2, keys=("a", "b"))
    with pytest.raises(LayoutError) as caught:
        ours().pack(regions, texts)
    assert str(caught.value) == message and caught.value.key == ("b" if len(texts) == 1 else None)


# What is ours


@torch.no_grad()
def test_the_embedding_of_conditions_is_added_to_conditions_alone() -> None:
    model = ours(num_layers=0)  # no block mixes tokens
    restyle = DESIGNS[2]
    regions = batch([restyle])
    before = velocities(model, [restyle])[0]
    model.cond_token_embed.add_(1.5 * draw(128))
    changed_T = (velocities(model, [restyle])[0] != before).any(dim=1)
    assert torch.equal(changed_T, regions.of_tokens(regions.condition)) and changed_T.any()


@torch.no_grad()
def test_what_has_no_condition_does_not_see_the_embedding() -> None:
    model, others = ours(), [DESIGNS[0], DESIGNS[1], DESIGNS[3]]
    before = velocities(model, [*others, DESIGNS[2]])
    model.cond_token_embed.add_(1.5 * draw(128))
    after = velocities(model, [*others, DESIGNS[2]])
    assert all(torch.equal(x, y) for x, y in zip(before[:3], after[:3], strict=True))
    assert not torch.allclose(before[3], after[3], atol=1e-2)


@torch.no_grad()
def test_each_layer_has_its_own_embedding() -> None:
    model = ours(num_layers=0, layer_slots=5)
    one = DESIGNS[1]
    layer_T = batch([one]).of_tokens(batch([one]).layer)
    for slot in range(5):
        before = velocities(model, [one])[0]
        model.layer_embed[slot] += draw(128, seed=slot)
        assert torch.equal((velocities(model, [one])[0] != before).any(dim=1), layer_T == slot)


@pytest.mark.parametrize("task", [Task.TEXT_TO_LAYERS, Task.IMAGE_TO_LAYERS, Task.RESTYLE])
@torch.no_grad()
def test_without_a_layer_axis_nothing_tells_layers_apart_that_lie_at_one_place(task: Task) -> None:
    """The numbers of the layers exchanged, their tokens where they were."""
    one = design(task, [(0, 0, 5, 5), (1, 1, 3, 4), (1, 1, 3, 4), (0, 2, 4, 3)], (5, 5), (1, 1, 4, 4), 3, 2)
    others = {1: 4, 2: 3, 3: 1, 4: 2}
    exchanged = replace(
        one, laid_out=[replace(region, layer=others.get(region.layer, region.layer)) for region in one.laid_out]
    )
    for axes, alike in (((0, 16, 16), True), ((8, 12, 12), False)):
        model = ours(axes_dims_rope=axes, zero_cond_t=True)
        before, after = velocities(model, [one])[0], velocities(model, [exchanged])[0]
        assert torch.equal(before, after) is torch.allclose(before, after, atol=1e-2) is alike


@torch.no_grad()
def test_gates_begin_as_asked() -> None:
    """At one and at any time every block adds the whole of what it makes; at 0 a block passes its tokens on."""
    block = RegionTransformer(**TINY, gate_init=0.75).transformer_blocks[1]
    for mod in (block.img_mod, block.txt_mod):
        shift, scale, gate, *second = mod(draw(3, 128)).chunk(6, dim=-1)
        for zero in (shift, scale, *second[:2]):
            assert not zero.any()
        assert (gate == 0.75).all() and (second[2] == 0.75).all()
    shut = RegionTransformer(**TINY, gate_init=0.0)
    bare = RegionTransformer(**{**TINY, "num_layers": 0})
    bare.load_state_dict(shut.state_dict(), strict=False)
    assert torch.equal(velocities(shut, DESIGNS)[0], velocities(bare, DESIGNS)[0])


@torch.no_grad()
def test_a_network_that_says_nothing_gives_the_wiener_velocity() -> None:
    model = ours(channel_std=STD)
    model.proj_out.weight.zero_()
    model.proj_out.bias.zero_()
    for one, got in zip(DESIGNS, velocities(model, DESIGNS), strict=True):
        target_T = batch([one]).target_T
        sigma, variance = torch.tensor(one.sigma).double(), torch.tensor(STD).double() ** 2
        skip = (sigma - (1 - sigma) * variance) / ((1 - sigma) ** 2 * variance + sigma**2)
        torch.testing.assert_close(got[target_T], (skip * one.image[target_T]).float(), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_the_network_sees_tokens_of_unit_variance_clean_ones_too() -> None:
    std = torch.linspace(0.05, 3, CHANNELS)
    model = ours(channel_std=std.tolist())
    plain = ours()
    restyle = DESIGNS[2]
    regions, packing = batch([restyle]), model.pack(batch([restyle]), [restyle.text])
    sigma = torch.tensor([restyle.sigma])
    wiener = Preconditioning.at(restyle.sigma * regions.target_T, std)
    got = model(restyle.image, restyle.prompt, sigma, regions, packing)
    inner = plain(restyle.image / wiener.spread, restyle.prompt, sigma, regions, packing)
    torch.testing.assert_close(got, wiener.skip * restyle.image + wiener.out * inner, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(wiener.spread[~regions.target_T][0], std)


@pytest.mark.parametrize(
    "std",
    [[1.0] * (CHANNELS - 1), *([value] * CHANNELS for value in (0.0, -1.0, 1e-30, 1e30, float("nan")))],
    ids=["15", "0", "-1", "tiny", "huge", "nan"],
)
def test_a_spread_that_is_no_spread_of_the_channels(std: list[float]) -> None:
    with pytest.raises(CodecError, match="channel_std must be 16 positive numbers"):
        RegionTransformer(**TINY, channel_std=std)


@torch.no_grad()
def test_clean_tokens_are_at_time_zero() -> None:
    """With a time of their own, given tokens look the same at every sigma; without, they do not."""
    given = DESIGNS[1]
    for zero_cond, same in ((True, True), (False, False)):
        model = ours(zero_cond_t=zero_cond, num_layers=1)
        kept: list[Tensor] = []
        model.transformer_blocks[0].img_mlp.register_forward_pre_hook(lambda _, x, kept=kept: kept.append(x[0]))
        model.transformer_blocks[0].attn.to_out[0].weight.zero_()  # no mixing: each token's own path alone
        for sigma in (0.2, 0.9):
            velocities(model, [replace(given, sigma=sigma)])
        clean_T = ~batch([given]).target_T
        assert torch.allclose(kept[0][clean_T], kept[1][clean_T]) is same
        assert not torch.allclose(kept[0][~clean_T], kept[1][~clean_T])


# How it is computed


def test_checkpointing_gives_the_same_gradients() -> None:
    grads = []
    for checkpointing in (False, True):
        model = ours(zero_cond_t=True, layer_slots=9).train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        torch.cat(velocities(model, DESIGNS)).square().mean().backward()
        grads.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert set(grads[0]) == set(grads[1])
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, atol=1e-6, rtol=1e-5)


def test_every_parameter_that_counts_has_a_gradient() -> None:
    model = ours(zero_cond_t=True, layer_slots=9)
    torch.cat(velocities(model, DESIGNS)).square().mean().backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # The text that the last block makes is not used; its keys and values are.
    last = "transformer_blocks.1."
    assert all(name.startswith(last) and ("add_out" in name or "txt_m" in name or "added_q" in name or "add_q" in name)
               for name in without), without  # fmt: skip


@pytest.mark.parametrize("settings", MODELS, ids=["base", "zero_cond", "all"])
@torch.no_grad()
def test_half_precision_without_autocast(settings: dict[str, Any]) -> None:
    model = ours(**settings)
    wanted = torch.cat(velocities(model, DESIGNS))
    got = torch.cat(velocities(model.to(torch.bfloat16), DESIGNS, torch.bfloat16))
    assert got.dtype is torch.bfloat16
    assert (got.float() - wanted).square().mean().sqrt() < 0.1 * wanted.square().mean().sqrt()


@pytest.mark.parametrize("settings", MODELS, ids=["base", "zero_cond", "all"])
def test_a_rank_without_a_design_runs_its_passes_too(settings: dict[str, Any]) -> None:
    """So that it meets the others in every collective: each parameter has a gradient, of zeros."""
    model = ours(**settings)
    regions = Regions.lay_out([], [], [])
    out = run(model, torch.zeros(0, CHANNELS), torch.zeros(0, TEXT), [], regions, [])
    assert out.shape == (0, CHANNELS)
    out.sum().backward()  # type: ignore[no-untyped-call]
    without = [name for name, p in model.named_parameters() if p.grad is None]
    last = f"transformer_blocks.{len(model.transformer_blocks) - 1}."
    assert all(name.startswith(last) and ("add" in name or "txt" in name) for name in without), without
