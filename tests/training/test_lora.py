"""An adapter begins as nothing, is all that learns, and folds into weights that diffusers' own class reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from diffusers import QwenImageTransformer2DModel
from torch import Tensor

from model.bundle import Bundle
from model.codecs.pca import PcaCodec
from model.tasks import Task
from model.text_bytes import ByteText
from model.transformer import KIND_EMBED, NEW_PARAMETERS, RegionTransformer
from tests.model.test_transformer import batch, design
from tests.model.tiny_models import CHANNELS, TEXT, TINY, draw, ours
from tests.training.shards import world_of_one
from training.average import Average, AverageConfig
from training.errors import UsageError
from training.learner import Learner
from training.lora import ATTENTION, MLP, LoraSettings, add_lora, merged
from training.optimiser import Optimiser, OptimiserConfig
from training.parallel import World, shard

SETTINGS = LoraSettings(rank=4, alpha=6.0)
SLOTS = {"layer_slots": 8, "zero_cond_t": True}
DESIGNS = [
    design(Task.IMAGE_TO_LAYERS, [(0, 0, 4, 4), (1, 1, 3, 4)], (4, 4), (0, 0, 4, 4), 0, 1),
    design(Task.RESTYLE, [(0, 0, 3, 4), (1, 2, 3, 3)], (3, 4), (0, 0, 3, 3), 0, 2),
]


@pytest.fixture(scope="module")
def codec() -> PcaCodec:
    generator = torch.Generator().manual_seed(0)
    pictures = (torch.randint(256, (32, 32, 4), generator=generator, dtype=torch.uint8) for _ in range(4))
    return PcaCodec.fit(pictures, token_px=4, token_dim=CHANNELS)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def learner(codec: PcaCodec) -> Iterator[Learner]:
    yield new(codec)


def new(codec: PcaCodec, dtype: torch.dtype = torch.float32, **settings: object) -> Learner:
    torch.manual_seed(0)
    return Learner(Bundle(ours(**{**SLOTS, **settings}).to(dtype), codec, ByteText(TEXT, 64)))


def test_no_gpu_is_woken_to_draw_an_adapter(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host of several, each rank would hold memory on all of them."""

    def asked(device: object) -> Tensor:
        raise AssertionError(f"GPU {device} was asked for its state")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", asked)
    before = torch.get_rng_state()
    add_lora(learner, SETTINGS)
    assert torch.equal(torch.get_rng_state(), before)


def velocity(transformer: RegionTransformer) -> Tensor:
    regions = batch(DESIGNS)
    tokens, lengths = torch.cat([each.image for each in DESIGNS]), [5, 3]
    text = draw(sum(lengths), TEXT)
    sigmas = torch.tensor([each.sigma for each in DESIGNS])
    packing = transformer.pack(regions, lengths)
    out: Tensor = transformer(tokens.double(), text.double(), sigmas, regions, packing)
    return out


def learn(learner: Learner, steps: int = 3) -> None:
    optimiser = Optimiser(learner, OptimiserConfig(lr=1e-2), steps)
    for step in range(steps):
        velocity(learner.transformer).square().mean().backward()
        optimiser.norm()
        optimiser.update(step)


def test_it_begins_as_nothing(learner: Learner) -> None:
    before, names = velocity(learner.transformer), set(learner.transformer.state_dict())
    add_lora(learner, SETTINGS)
    assert torch.equal(velocity(learner.transformer), before)
    assert merged(learner).keys() == names


def test_it_alone_learns_with_the_new_parameters(learner: Learner) -> None:
    add_lora(learner, SETTINGS)
    trained = {name for name, value in learner.named_parameters() if value.requires_grad}
    new_ones = {"transformer.cond_token_embed", "transformer.layer_embed"}
    assert new_ones < trained and all(".lora_" in name for name in trained - new_ones)
    blocks, layers = TINY["num_layers"], len(ATTENTION + MLP)
    assert len(trained - new_ones) == 2 * blocks * layers
    before = {name: value.detach().clone() for name, value in learner.named_parameters()}
    learn(learner)
    changed = {name for name, value in learner.named_parameters() if not torch.equal(value, before[name])}
    last = f"transformer.transformer_blocks.{blocks - 1}."
    unread = {name for name in trained if name.startswith(last) and (".txt_mlp." in name or ".to_add_out." in name)}
    assert changed == trained - unread - {f"{last}attn.add_q_proj.lora_B.default.weight"}


def test_what_tells_kinds_of_pictures_apart_learns_with_it(codec: PcaCodec) -> None:
    """With the weights of Qwen-Image it is new, too."""
    learner = new(codec, use_additional_t_cond=True)
    add_lora(learner, SETTINGS)
    trained = {name for name, value in learner.transformer.named_parameters() if value.requires_grad}
    assert {name for name in trained if ".lora_" not in name} == {*NEW_PARAMETERS, KIND_EMBED}


@pytest.mark.parametrize(("dtype", "steps", "tolerance"), [(torch.float32, 1, 1e-6), (torch.float64, 3, 1e-12)])
def test_folded_in_it_is_the_same_function(codec: PcaCodec, dtype: torch.dtype, steps: int, tolerance: float) -> None:
    learner = new(codec, dtype)
    start = velocity(learner.transformer)
    add_lora(learner, SETTINGS)
    learn(learner, steps)
    adapted = velocity(learner.transformer)
    assert (adapted - start).abs().max() > 1e-3
    plain = ours(**SLOTS).to(dtype)
    plain.load_state_dict(merged(learner))
    assert (velocity(plain) - adapted).norm() < tolerance * adapted.norm()


def test_the_weights_have_the_names_and_shapes_of_diffusers(codec: PcaCodec) -> None:
    learner = new(codec, layer_slots=0)
    add_lora(learner, SETTINGS)
    stock = QwenImageTransformer2DModel(**TINY, zero_cond_t=True)
    found = {name: value.shape for name, value in merged(learner).items() if name != "cond_token_embed"}
    assert found == {name: value.shape for name, value in stock.state_dict().items()}


def test_the_copy_is_its_own_and_a_learner_without_an_adapter_is_copied_as_it_is(learner: Learner) -> None:
    own = learner.transformer.state_dict()
    found = merged(learner)
    assert found.keys() == own.keys() and all(torch.equal(value, own[name]) for name, value in found.items())
    assert not {value.data_ptr() for value in found.values()} & {value.data_ptr() for value in own.values()}
    assert merged(learner, keep=False) == {}


def test_chosen_layers_alone_are_changed(learner: Learner) -> None:
    before = merged(learner)
    add_lora(learner, LoraSettings(rank=2, targets=("to_q", "img_mlp.net.2")))
    learn(learner)
    changed = {name for name, value in merged(learner).items() if not torch.equal(value, before[name])}
    ends = ("attn.to_q.weight", "img_mlp.net.2.weight")
    blocks = {f"transformer_blocks.{number}.{end}" for number in range(TINY["num_layers"]) for end in ends}
    assert changed == blocks | {"cond_token_embed", "layer_embed"}


@pytest.mark.parametrize("target", ["to_z", "img_in", "o_q", "attn"])
def test_a_target_that_is_no_layer_is_named(learner: Learner, target: str) -> None:
    with pytest.raises(UsageError, match=f"no linear layer of a block is a '{target}'; there are .*attn.to_q") as error:
        add_lora(learner, LoraSettings(targets=("to_q", target)))
    assert "\n" not in str(error.value) and all(value.requires_grad for value in learner.parameters())


def test_its_beginning_depends_on_its_seed_alone(codec: PcaCodec) -> None:
    drawn = []
    for seed in (0, 0, 1):
        learner = new(codec)
        torch.rand(seed + len(drawn))
        state = torch.get_rng_state()
        add_lora(learner, SETTINGS, seed)
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append(learner.get_parameter("transformer.transformer_blocks.1.attn.to_q.lora_A.default.weight"))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_shards_of_the_averaged_adapter_fold_into_whole_weights(codec: PcaCodec) -> None:
    alone, spread = new(codec), new(codec)
    found = []
    with world_of_one():
        for learner in (alone, spread):
            add_lora(learner, SETTINGS)
            if learner is spread:
                shard(learner, World(0, 1, 0, torch.device("cpu")), dtype=torch.bfloat16)
            average = Average(learner, AverageConfig(decay=0.5))
            with torch.no_grad():
                for value in learner.parameters():
                    if value.requires_grad:
                        value.add_(0.1)
            average.update(0)
            with average.swapped():
                found.append(merged(learner))
    assert found[0].keys() == found[1].keys()
    assert all(type(value) is Tensor and torch.equal(value, found[0][name]) for name, value in found[1].items())
