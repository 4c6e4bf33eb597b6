"""What an estimate says is what the model, its shards and its costs are."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLQwenImage
from pydantic import ValidationError
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from model import cost, presets
from model.cost import Architecture
from model.text_bytes import ByteText
from training import estimate as module
from training.errors import TrainingError, UsageError
from training.estimate import FROZEN_CODEC, FROZEN_TEXT, Estimate, EstimateConfig, estimate, render

LARGE = 20_430_404_160
STATES = ("weights", "gradients", "Adam's two means", "average of the weights")
EIGHT, MANY, ODD = 8, 512, 100


@pytest.fixture(scope="module")
def large() -> Estimate:
    return estimate(EstimateConfig(gpus=(EIGHT, MANY, ODD)))


def test_the_states_of_all_gpus_are_the_parameters_and_their_padding(large: Estimate) -> None:
    assert large.parameters == LARGE == cost.parameters(Architecture.of(presets.config("qwen-20b")))
    for row, waste in zip(large.rows, (1.0, 1.002, 1.02), strict=True):
        shares = [row.parts[name] for name in STATES]
        assert [share / shares[0] for share in shares] == [1, 1, 2, 1]
        assert 4 * LARGE / row.gpus <= shares[0] <= 4 * LARGE / row.gpus * waste + 64


@pytest.mark.parametrize("gpus", [1, 3, 7, 130])
def test_a_share_is_the_chunk_that_torch_cuts_for_the_first_rank(gpus: int) -> None:
    with torch.device("meta"):
        transformer, text = presets.transformer("tiny"), ByteText(64)
    (row,) = estimate(EstimateConfig(preset="tiny", resolution=64, gpus=(gpus,))).rows
    chunks = [value.chunk(gpus)[0].numel() for value in (*transformer.parameters(), *text.parameters())]
    assert row.parts["weights"] == 4 * sum(chunks)
    block = sum(value.numel() for value in transformer.transformer_blocks[0].parameters())
    whole = sum(value.numel() for value in transformer.parameters())
    assert row.parts["gathered weights"] == 2 * (whole - 2 * block)  # of four blocks, two are there
    assert row.parts["gradients before they are shared"] == 6 * block


def test_what_does_not_depend_on_the_number_of_gpus_does_not(large: Estimate) -> None:
    first, *others = large.rows
    for name in first.parts.keys() - set(STATES):
        assert {row.parts[name] for row in others} == {first.parts[name]}


def test_a_step_has_as_many_micro_batches_for_every_gpu(large: Estimate) -> None:
    assert [row.micro_batches for row in large.rows] == [64, 512, 100]
    for row in large.rows:
        assert row.micro_batches >= large.config.micro_batches and row.micro_batches % row.gpus == 0
        assert row.tokens / row.micro_batches == pytest.approx(large.rows[0].tokens / 64)
        assert row.tokens <= row.micro_batches * large.config.token_budget
        assert row.days * 86_400 == pytest.approx(row.seconds * large.config.steps)
    eight, many, _ = large.rows
    assert eight.seconds == pytest.approx(8 * many.seconds)


def test_seconds_are_the_work_over_what_the_gpu_does() -> None:
    one = EstimateConfig(token_budget=1, micro_batches=1, gpus=(1,), layers=1, peak_flops=1e15, efficiency=0.5)
    (row,) = estimate(one).rows
    assert row.designs == 1  # over the budget, each is a micro-batch of its own
    tokens = round(row.tokens)
    a = Architecture.of(presets.config("qwen-20b"))
    work = cost.forward(a, [(256, tokens)]) + cost.backward(a, [(256, tokens)], checkpointing=True)
    assert row.seconds == pytest.approx(work / 0.5e15, rel=0.02)  # that of the mean, for the mean of the work
    (other,) = estimate(one.model_copy(update={"efficiency": 0.25, "checkpointing": False})).rows
    assert other.seconds / row.seconds == pytest.approx(2 * 3 / 4, rel=0.02)
    assert other.parts["activations"] > 10 * row.parts["activations"]


def test_frozen_parts_are_counted() -> None:
    text = {
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18_944,
        "vocab_size": 152_064,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    }
    with torch.device("meta"):
        language = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text)).model.language_model
        vae = AutoencoderKLQwenImage()
    assert FROZEN_TEXT["qwen"] == 2 * sum(value.numel() for value in language.parameters())
    assert FROZEN_CODEC["gray"] == FROZEN_CODEC["rgba"] == 4 * sum(value.numel() for value in vae.parameters())
    assert {found.codec for found in presets.PRESETS.values()} <= FROZEN_CODEC.keys()
    assert {found.text for found in presets.PRESETS.values()} <= FROZEN_TEXT.keys()


def cells(shown: str, name: str) -> list[str]:
    return next(line for line in shown.splitlines() if line.startswith(name)).removeprefix(name).split()


def test_the_table_has_the_rows(large: Estimate) -> None:
    shown = render(large)
    assert shown.startswith("qwen-20b: 20,430,404,160 trained parameters")
    assert cells(shown, "GPUs") == ["8", "512", "100"]
    for name in large.rows[0].parts:
        assert [float(cell) for cell in cells(shown, f"GB: {name}")] == pytest.approx(
            [row.parts[name] / 1e9 for row in large.rows], rel=0.05
        )
    assert cells(shown, "GB a GPU") == [f"{row.bytes / 1e9:.2f}" for row in large.rows]
    assert cells(shown, "fits in 80 GB") == ["no", "yes", "yes"]
    assert len({len(line) for line in shown.splitlines()[2:]}) == 1


def test_a_model_that_is_not_the_formula_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.cost, "parameters", lambda _: 7)
    with pytest.raises(TrainingError, match=r"parameters, model\.cost says 7"):
        estimate(EstimateConfig(preset="tiny"))


def test_many_small_designs_are_quickly_packed() -> None:
    (row,) = estimate(EstimateConfig(resolution=16, layers=2, token_budget=2**20, gpus=(1,))).rows
    assert row.tokens == pytest.approx(64 * 2**20, rel=1e-3) and row.designs > 64 * 2**20 / 8


def test_a_preset_that_is_none_is_one_line() -> None:
    with pytest.raises(UsageError, match="no preset 'tinny'; choose from tiny"):
        estimate(EstimateConfig(preset="tinny"))


@pytest.mark.parametrize("wrong", [{"gpus": ()}, {"gpus": (0,)}, {"efficiency": 1.5}, {"steps": 0}, {"peak": 1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EstimateConfig.model_validate(wrong)
