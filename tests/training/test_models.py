"""A run begins with a preset, a checkpoint or a pipeline, and says in one line which of them is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from model.bundle import Bundle
from model.codecs.pca import Mode, PcaCodec
from model.tasks import Task
from model.text_bytes import ByteText
from model.transformer import KIND_EMBED
from model.variants import Variant
from pipelines.storage import Store
from tests.model.tiny_models import stock
from tests.training.example_batches import codec, micro_batch
from tests.training.small_learner import small_learner
from training.config import DataConfig
from training.errors import UsageError
from training.examples import ExampleConfig, prepare
from training.learner import Learner
from training.models import CodecConfig, ModelConfig, build, fit_codec, open_codec
from training.noise import fixed_noise

CPU = torch.device("cpu")
ONE = {"num_layers": 1}


def model(**given: Any) -> ModelConfig:
    return ModelConfig.model_validate(given)


def built(config: ModelConfig, seed: int = 0) -> Bundle:
    return build(config, None if config.has_codec else codec(), seed, CPU)


def test_new_weights_are_of_the_seed_alone() -> None:
    config = model(settings=ONE)
    torch.manual_seed(5)
    first = built(config).transformer.state_dict()
    torch.manual_seed(6)
    second, other = (built(config, seed).transformer.state_dict() for seed in (0, 1))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


@pytest.mark.parametrize("variant", list(Variant))
def test_a_new_model_is_that_of_preset_variant_codec_and_settings(variant: Variant) -> None:
    bundle = built(model(variant=variant, settings={**ONE, "rope_theta": 50.0}))
    config = bundle.transformer.config
    assert (config.num_layers, config.rope_theta, config.num_attention_heads) == (1, 50.0, 4)
    assert config.channel_std == codec().channel_std
    assert config.zero_cond_t == (variant is Variant.MRT)
    assert isinstance(bundle.text, ByteText) and bundle.preset == "tiny"


def test_a_checkpoint_is_loaded_with_all_that_it_has(tmp_path: Path) -> None:
    learner = small_learner(3)
    learner.bundle.save(tmp_path / "model")
    config = model(weights=str(tmp_path / "model"))
    assert config.has_codec and open_codec(config, CPU) is None
    found = built(config)
    kept = learner.transformer.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in found.transformer.state_dict().items())
    assert isinstance(found.codec, PcaCodec) and found.codec.token_px == codec().token_px


def test_layered_begins_with_what_qwen_image_draws(tmp_path: Path) -> None:
    """Its first stage has the loss of Qwen-Image's weights, which then learn to tell the kinds of pictures apart."""
    sizes = {"in_channels": 64, "out_channels": 64, "joint_attention_dim": 64}
    stock(**sizes).save_pretrained(tmp_path / "transformer")
    batch = micro_batch([(1, Task.TEXT_TO_RGB), (2, Task.TEXT_TO_RGBA)])
    losses = []
    for variant in (Variant.MRT, Variant.LAYERED):
        torch.manual_seed(0)  # of the text encoder's weights
        learner = Learner(built(model(weights=str(tmp_path), variant=variant)))
        config = ExampleConfig(overflow=False)  # so that text begins past the picture, as Layered's does
        example = prepare(batch, codec(), config, seed=0, device=CPU, variant=variant, evaluation=True)
        losses.append(learner(example, fixed_noise(example, 0.5, 0)))
    assert losses[0].min() > 0
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)
    losses[1].sum().backward()
    assert learner.transformer.get_parameter(KIND_EMBED).grad.abs().amax(dim=1).min() > 0


OWN: list[dict[str, Any]] = [
    {"settings": ONE},
    {"text": "somewhere"},
    {"codec": {"kind": "rgba"}},
    {"preset": "tiny"},
]


@pytest.mark.parametrize("changes", OWN)
def test_a_checkpoint_has_parts_of_its_own(tmp_path: Path, changes: dict[str, Any]) -> None:
    small_learner().bundle.save(tmp_path / "model")
    with pytest.raises(UsageError, match=r"model.weights is a checkpoint, which has preset, settings, codec and text"):
        built(model(weights=str(tmp_path / "model"), **changes))


def test_the_parts_beside_the_transformer_are_on_the_device(tmp_path: Path) -> None:
    small_learner().bundle.save(tmp_path / "model")
    bundle = build(model(weights=str(tmp_path / "model")), None, 0, torch.device("meta"))
    assert isinstance(bundle.text, ByteText) and bundle.text.device.type == "meta"
    assert bundle.transformer.device == CPU


@pytest.fixture
def beginnings(tmp_path: Path) -> dict[str, ModelConfig]:
    """A new model, one of a checkpoint, and one of public weights, which are stored in bfloat16."""
    small_learner().bundle.save(tmp_path / "model")
    small_learner().transformer.to(torch.bfloat16).save_pretrained(tmp_path / "public" / "transformer")
    return {
        "new": model(settings=ONE),
        "checkpoint": model(weights=str(tmp_path / "model")),
        "pipeline": model(weights=str(tmp_path / "public"), settings={"rope_theta": 50.0}),
    }


@pytest.mark.parametrize("name", ["new", "checkpoint", "pipeline"])
def test_an_empty_model_is_the_same_without_weights(name: str, beginnings: dict[str, ModelConfig]) -> None:
    config = beginnings[name]
    made = None if config.has_codec else codec()
    whole, empty = (build(config, made, 0, CPU, empty=empty).transformer for empty in (False, True))
    assert all(value.is_meta for value in empty.state_dict().values())
    settings = [{key: value for key, value in one.config.items() if key[:1] != "_"} for one in (whole, empty)]
    assert settings[0] == settings[1]
    kept = whole.state_dict()
    assert {key: value.shape for key, value in empty.state_dict().items()} == {
        key: value.shape for key, value in kept.items()
    }
    assert all(value.dtype is torch.float32 for value in kept.values())
    assert not list(empty.buffers())


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    small_learner().bundle.save(tmp_path / "model")
    (tmp_path / "model" / "transformer" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match=re.escape(str(tmp_path / "model"))):
        built(model(weights=str(tmp_path / "model")))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "huge"}, "there is no preset 'huge'; choose from tiny, small, qwen-20b"),
        ({"settings": {"num_layer": 1}}, "the transformer has no 'num_layer'; did you mean 'num_layers'?"),
        ({"settings": {"num_layers": 0}}, "settings: num_layers: Input should be greater than or equal to 1"),
        ({"settings": {"attention_head_dim": 30}}, "axes_dims_rope must add up to attention_head_dim, 30"),
        ({"codec": {"kind": "pcaa"}}, "Input should be 'pca', 'gray', 'rgba' or 'joint'"),
        ({"variant": "mtr"}, "Input should be 'mrt', 'art' or 'layered'"),
    ],
)
def test_settings_that_no_model_has_are_refused_at_once(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        model(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"codec": {"kind": "gray"}}, "the codec 'gray' is a VAE: set model.codec.path, or model.weights to a"),
        ({"preset": "qwen-20b"}, "the codec 'gray' is a VAE: set model.codec.path"),
    ],
)
def test_a_vae_must_be_somewhere(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        open_codec(model(**given), CPU)


@pytest.mark.parametrize("kind", ["gray", "joint"])
def test_a_codec_that_is_not_there_is_one_line(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=r"model.codec: ") as told:
        open_codec(model(codec={"kind": kind, "path": str(tmp_path / "nothing")}), CPU)
    assert "\n" not in str(told.value)


def test_weights_that_are_nowhere_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"model: no transformer of Qwen-Image at .*empty") as told:
        built(model(weights=str(tmp_path / "empty")))
    assert "\n" not in str(told.value)


def test_a_model_of_public_weights_reads_text_with_qwen() -> None:
    with pytest.raises(UsageError, match=r"this preset reads text with Qwen2.5-VL: set model.text to a pipeline"):
        tiny = {**ONE, "num_attention_heads": 1, "attention_head_dim": 128, "patch_size": 1, "out_channels": 64}
        built(model(preset="qwen-20b", settings=tiny, codec={"kind": "pca"}))


@pytest.mark.parametrize("mode", list(Mode))
def test_a_codec_is_fitted_to_the_designs(designs: Store, mode: Mode) -> None:
    data = DataConfig(dataset=designs.root, resolution=32, token_budget=400, tasks={"restyle": 1})  # type: ignore[dict-item]
    settings = data.stream_settings(1, seed=0)
    fitted, again = (fit_codec(CodecConfig(mode=mode, designs=40), settings, CPU) for _ in range(2))
    assert fitted.settings.mode is mode and fitted.token_px == 8
    assert fitted.channel_std == again.channel_std
    flat = torch.full((16, 8, 4), 200, dtype=torch.uint8)
    [back] = fitted.decode(fitted.encode([flat]), [(2, 1)])
    assert float((back.float() - flat.float())[..., :3].abs().mean()) < 25


def test_too_few_designs_for_a_codec_say_how_to_get_more(designs: Store) -> None:
    settings = DataConfig(dataset=designs.root, resolution=16, token_budget=60).stream_settings(1, seed=0)
    with pytest.raises(UsageError, match=r"too few to fit 256 values.*raise model.codec.designs, now 1"):
        fit_codec(CodecConfig(designs=1), settings, CPU)
