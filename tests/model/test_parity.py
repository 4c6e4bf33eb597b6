"""The region transformer against diffusers' own with the same weights: whatever that can do, to rounding.

And against itself where libraries hold its weights: in eight bits, under adapters, sharded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from peft import LoraConfig
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from model.attention import Backend
from model.regions import Regions
from model.tasks import Region, Task, lay_out
from model.transformer import RegionBlock, RegionTransformer
from tests.model.test_transformer import DESIGNS, MODELS, velocities
from tests.model.tiny_models import CHANNELS, TEXT, draw, like, ours, run, stock

Size = tuple[int, int]
TOLERANCE = 1e-5


def pictures(sizes: Sequence[Size], layer3d: bool = False, given: int = 0) -> Regions:
    """``img_shapes`` of diffusers as regions: pictures (h, w), all centred on one point, the last ``given`` clean.

    Each has its index as its layer. With ``layer3d`` the last is the condition, at -1, and the text begins past the
    layers too.
    """
    boxes = [[-(w - w // 2), -(h - h // 2), w // 2, h // 2] for h, w in sizes]
    count = len(sizes)
    layer = torch.arange(count)
    extent = max(side // 2 for size in sizes for side in size)
    if layer3d:
        layer[-1], extent = -1, max(extent, count - 1)
    no = torch.zeros(count, dtype=torch.bool)
    clean = torch.arange(count) >= count - given
    centre = torch.zeros(1, 2, dtype=torch.long)
    return Regions(torch.tensor(boxes), layer, no.long(), clean, no, centre, torch.tensor([extent]), ("picture",))


def inputs(sizes: Sequence[Size], text: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    return draw(sum(h * w for h, w in sizes), CHANNELS, seed=seed), draw(text, TEXT, seed=seed + 100)


def theirs(
    model: torch.nn.Module, tokens_TC: Tensor, text_SE: Tensor, sigma: float, sizes: Sequence[Size], kind: int | None
) -> Tensor:
    extra = {} if kind is None else {"additional_t_cond": torch.tensor([kind])}
    shapes = [[(1, *size) for size in sizes]]
    out: Tensor = model(
        tokens_TC[None], text_SE[None], timestep=torch.tensor([sigma]), img_shapes=shapes, **extra
    ).sample[0]
    return out


def close(got: Tensor, wanted: Tensor) -> None:
    assert wanted.abs().mean() > 0.1  # weights under which there is something to compare
    torch.testing.assert_close(got, wanted, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("zero_cond", [False, True])
@pytest.mark.parametrize("sizes", [[(4, 6)], [(5, 7)], [(1, 1)], [(4, 6), (3, 5)], [(2, 2), (7, 3), (1, 9)]], ids=str)
@torch.no_grad()
def test_pictures(sizes: list[Size], zero_cond: bool) -> None:
    model = stock(zero_cond_t=zero_cond)
    tokens, text = inputs(sizes, 7)
    wanted = theirs(model, tokens, text, 0.7, sizes, None)
    regions = pictures(sizes, given=len(sizes) - 1)
    close(run(like(model), tokens, text, [0.7], regions, [7]), wanted)


@torch.no_grad()
def test_pictures_without_a_layer_axis() -> None:
    model = stock(axes_dims_rope=(0, 16, 16))
    sizes = [(4, 6), (4, 6), (3, 5)]
    tokens, text = inputs(sizes, 7)
    close(run(like(model), tokens, text, [0.7], pictures(sizes), [7]), theirs(model, tokens, text, 0.7, sizes, None))


@pytest.mark.parametrize("zero_cond", [False, True])
@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("sizes", [[(4, 6)] * 3, [(3, 3)] * 6, [(2, 5), (3, 4)]], ids=str)
@torch.no_grad()
def test_layers_with_a_kind(sizes: list[Size], kind: int, zero_cond: bool) -> None:
    model = stock(use_layer3d_rope=True, use_additional_t_cond=True, zero_cond_t=zero_cond)
    tokens, text = inputs(sizes, 5)
    wanted = theirs(model, tokens, text, 0.3, sizes, kind)
    # Their clean tokens are those of every picture but the first, whatever is the condition.
    regions = pictures(sizes, layer3d=True, given=len(sizes) - 1)
    close(run(like(model), tokens, text, [0.3], regions, [5], [kind]), wanted)
    assert not torch.allclose(theirs(model, tokens, text, 0.3, sizes, 1 - kind), wanted, atol=1e-2)


@torch.no_grad()
def test_the_composed_picture_alone_is_a_picture_of_qwen_image() -> None:
    """Text-to-rgb of a design is what the public weights draw, wherever its visible box lies on the canvas."""
    model = stock()
    tokens, text = inputs([(5, 7)], 4)
    for visible, canvas in (((0, 0, 7, 5), (7, 5)), ((3, 2, 10, 7), (10, 7))):
        regions = Regions.lay_out([lay_out(Task.TEXT_TO_RGB, [], canvas, visible)], [canvas], [visible])
        close(run(like(model), tokens, text, [1.0], regions, [4]), theirs(model, tokens, text, 1.0, [(5, 7)], None))


SETTINGS = [{}, {"zero_cond_t": True}, {"use_layer3d_rope": True, "use_additional_t_cond": True, "zero_cond_t": True}]


@pytest.mark.parametrize("backend", [Backend.SEGMENTS, Backend.PADDED])
@pytest.mark.parametrize("settings", SETTINGS, ids=["base", "zero_cond", "layered"])
@torch.no_grad()
def test_a_batch_of_all_sorts_is_each_alone_in_diffusers(settings: dict[str, bool], backend: Backend) -> None:
    layered = "use_layer3d_rope" in settings
    model = stock(**settings)
    same = like(model)
    same.set_attention(backend)
    shapes: list[list[Size]] = [[(4, 6), (3, 5)], [(5, 7), (5, 7), (1, 2), (2, 2)], [(1, 3), (1, 1)]]
    lengths, sigmas, kinds = [7, 1, 12], [0.9, 0.1, 1.0], [0, 1, 1] if layered else [None] * 3
    each = [inputs(sizes, length, seed) for seed, (sizes, length) in enumerate(zip(shapes, lengths, strict=True))]
    wanted = [theirs(model, *each[i], sigmas[i], shapes[i], kinds[i]) for i in range(3)]
    regions = joined([pictures(sizes, layered, given=len(sizes) - 1) for sizes in shapes])
    tokens, text = (torch.cat(parts) for parts in zip(*each, strict=True))
    got = run(same, tokens, text, sigmas, regions, lengths, kinds if layered else None)
    for one, other in zip(got.split(regions.lengths), wanted, strict=True):
        close(one, other)


def joined(each: Sequence[Regions]) -> Regions:
    numbers = [torch.full((len(one),), number) for number, one in enumerate(each)]
    parts = {
        name: torch.cat([getattr(one, name) for one in each])
        for name in ("boxes", "layer", "clean", "condition", "centre", "extent")
    }
    return Regions(design=torch.cat(numbers), keys=tuple(map(str, range(len(each)))), **parts)


def test_gradients_are_those_of_diffusers() -> None:
    model = stock(zero_cond_t=True)
    same = like(model)
    sizes = [(4, 5), (3, 2)]
    tokens, text = inputs(sizes, 6)
    theirs(model, tokens, text, 0.4, sizes, None).square().mean().backward()
    run(same, tokens, text, [0.4], pictures(sizes, given=1), [6]).square().mean().backward()
    got = dict(same.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.grad is None:  # the text that the last block makes is not used
            assert got[name].grad is None or not got[name].grad.any()
            continue
        scale = parameter.grad.abs().max()
        assert math.isfinite(scale)
        torch.testing.assert_close(got[name].grad, parameter.grad, atol=1e-5 * max(1.0, float(scale)), rtol=1e-4)


@torch.no_grad()
def test_a_box_has_the_positions_of_the_grid_that_it_is_cut_from() -> None:
    """What stock cannot do: the tokens of a slice attend as in the whole grid, when all of it is there."""
    model = like(stock())
    height, width = 4, 6
    whole = Regions.lay_out([[Region(0, (0, 0, width, height))]], [(width, height)], [(0, 0, width, height)])
    halves = [Region(0, (0, 0, 2, height)), Region(0, (2, 0, width, height))]
    parts = Regions.lay_out([halves], [(width, height)], [(0, 0, width, height)])
    tokens, text = inputs([(height, width)], 3)
    grid = tokens.view(height, width, -1)
    cut = torch.cat([grid[:, :2].flatten(0, 1), grid[:, 2:].flatten(0, 1)])
    wanted = run(model, tokens, text, [0.5], whole, [3]).view(height, width, -1)
    got = run(model, cut, text, [0.5], parts, [3])
    close(got[: 2 * height], wanted[:, :2].flatten(0, 1))
    close(got[2 * height :], wanted[:, 2:].flatten(0, 1))


@torch.no_grad()
def test_our_own_settings_change_nothing_at_their_defaults() -> None:
    model = stock()
    tokens, text = inputs([(3, 4)], 2)
    regions = pictures([(3, 4)])
    plain = run(like(model), tokens, text, [0.5], regions, [2])
    slots: RegionTransformer = like(model, layer_slots=4)
    assert torch.equal(run(slots, tokens, text, [0.5], regions, [2]), plain)
    assert not torch.allclose(run(like(model, rope_theta=100.0), tokens, text, [0.5], regions, [2]), plain, atol=1e-3)


# With weights as other libraries hold them


def off(model: RegionTransformer, wanted: Tensor) -> float:
    """The error of a model in bfloat16, relative to float32; its tokens and text are float32, as is what it makes."""
    got = torch.cat(velocities(model, DESIGNS)).detach()
    assert got.dtype is torch.float32
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("lora", [False, True])
@torch.no_grad()
def test_weights_that_are_stored_in_eight_bits(lora: bool) -> None:
    """Diffusers' layerwise casting: a layer has its weights in the type of the computation while it runs alone."""
    model = ours(**MODELS[2])
    wanted = torch.cat(velocities(model, DESIGNS))
    model.to(torch.bfloat16)
    if lora:
        model.add_adapter(LoraConfig(r=2, target_modules=["img_in", "to_q"]))  # changes nothing yet
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    stored = model.img_in.base_layer.weight if lora else model.img_in.weight
    assert stored.dtype is torch.float8_e4m3fn
    assert off(model, wanted) < 0.15
    assert stored.dtype is torch.float8_e4m3fn


@torch.no_grad()
def test_an_adapter_more_precise_than_the_weights() -> None:
    model = ours(**MODELS[2])
    wanted = torch.cat(velocities(model, DESIGNS))
    model.to(torch.bfloat16).add_adapter(LoraConfig(r=2, target_modules=["img_in", "to_q"]))
    for name, parameter in model.named_parameters():
        parameter.data = parameter.float() if "lora" in name else parameter
    assert off(model, wanted) < 0.1


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.FileStore(str(tmp_path / "store"), 1))
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_sharded_weights_of_32_bits_compute_in_16() -> None:
    """FSDP2 gathers them in bfloat16 and casts nothing else."""
    model, alone = ours(**MODELS[2]), ours(**MODELS[2])
    wanted = torch.cat(velocities(alone, DESIGNS))
    wanted.square().mean().backward()
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    mesh = init_device_mesh("cpu", (1,))
    blocks: list[nn.Module] = [block for block in model.modules() if isinstance(block, RegionBlock)]
    for module in [*blocks, model]:
        fully_shard(module, mesh=mesh, mp_policy=policy)
    seen: list[torch.dtype] = []
    model.img_in.register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
    assert off(model, wanted.detach()) < 0.1
    assert seen == [torch.bfloat16]
    torch.cat(velocities(model, DESIGNS)).square().mean().backward()
    got, grad = model.img_in.weight.grad.full_tensor(), alone.img_in.weight.grad
    assert got.dtype is torch.float32 and (got - grad).norm() < 0.2 * grad.norm()
