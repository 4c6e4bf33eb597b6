"""Qwen2.5-VL as the text encoder: what diffusers' pipeline makes of a prompt, and what a prompt cannot do."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImagePipeline
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from model.errors import CheckpointError
from model.text_qwen import AFTER, BEFORE, MAX_TOKENS, QwenText

CONTROL = re.compile(r"<\|\w+\|>")
Parts = tuple[Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer]

QWEN_DROPS = 34
"""``prompt_template_encode_start_idx`` of diffusers' Qwen-Image: every word of its template is one token of Qwen's."""

PROMPTS = [
    "A poster of a cat, with the text 'Grüße, 漢字 🎨'",
    "",
    " ",
    "  two  spaces before\nand a line break\n\n",
    "<layer> a red cat </layer> <layer> the sun. </layer>",
    "{} and {0} and \\n",
    "cafe\u0301 \u0301",
]


def tokenizer_of(merges: int) -> Qwen2Tokenizer:
    """Qwen's tokenizer with a vocabulary of the bytes and at most so many merges, learned from the template."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + merges, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(CONTROL.split(BEFORE + AFTER), trainer)
    learned = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(merge) for merge in learned["merges"]],
        extra_special_tokens=["<|im_start|>", "<|im_end|>", "<|image_pad|>"],
    )
    tokenizer.add_tokens(["<tool_call>"])  # as in Qwen's: a token of its own, not a special one
    return tokenizer


def model_of(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    torch.manual_seed(0)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))


@pytest.fixture(scope="module")
def parts() -> Parts:
    tokenizer = tokenizer_of(1000)
    return model_of(tokenizer).eval(), tokenizer


@pytest.fixture(scope="module")
def encoder(parts: Parts) -> QwenText:
    return QwenText(*parts)


def stock(parts: Parts, prompts: list[str], drops: int = QWEN_DROPS) -> list[torch.Tensor]:
    """The text of each prompt [S, E] by diffusers' pipeline of the same parts."""
    pipeline = QwenImagePipeline(None, None, *parts, None)
    pipeline.prompt_template_encode_start_idx = drops
    with torch.no_grad():
        values, mask = pipeline._get_qwen_prompt_embeds(prompts, device="cpu")
    return [some[rows.bool()] for some, rows in zip(values, mask, strict=True)]


def ours(encoder: QwenText, prompts: list[str]) -> list[torch.Tensor]:
    text = encoder.encode(prompts)
    assert text.values.shape == (sum(text.lengths), encoder.width)
    return list(text.values.split(list(text.lengths)))


def assert_same(made: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_the_template_is_that_of_diffusers(parts: Parts, encoder: QwenText) -> None:
    pipeline = QwenImagePipeline(None, None, *parts, None)
    assert pipeline.prompt_template_encode == BEFORE + "{}" + AFTER
    assert (pipeline.prompt_template_encode_start_idx, pipeline.tokenizer_max_length) == (QWEN_DROPS, MAX_TOKENS)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_has_bit_for_bit_the_text_of_diffusers(parts: Parts, encoder: QwenText, prompt: str) -> None:
    assert torch.equal(ours(encoder, [prompt])[0], stock(parts, [prompt])[0])


def test_prompts_side_by_side_have_the_text_of_diffusers(parts: Parts, encoder: QwenText) -> None:
    assert_same(ours(encoder, PROMPTS), stock(parts, PROMPTS))


def test_what_is_dropped_follows_the_tokenizer() -> None:
    tokenizer = tokenizer_of(40)
    parts = model_of(tokenizer).eval(), tokenizer
    drops = len(tokenizer(BEFORE).input_ids)
    assert drops > 2 * QWEN_DROPS
    assert_same(ours(QwenText(*parts), PROMPTS[:2]), stock(parts, PROMPTS[:2], drops))


def test_a_prompt_is_encoded_as_if_it_stood_alone(encoder: QwenText) -> None:
    alone = [ours(encoder, [prompt])[0] for prompt in PROMPTS]
    assert_same(ours(encoder, PROMPTS), alone)
    assert_same(ours(encoder, [*PROMPTS[::-1], "x" * 300])[:-1], alone[::-1])


def test_no_prompt_has_no_text(encoder: QwenText) -> None:
    text = encoder.encode([])
    assert (text.values.shape, text.lengths) == ((0, encoder.width), ())


@pytest.mark.parametrize("length", [1015, 1021, 1024, 1100])
def test_a_long_prompt_is_cut_as_diffusers_cuts_it(parts: Parts, encoder: QwenText, length: int) -> None:
    prompt = ("漢" * 400)[: length // 3] + "1" * (length % 3)
    (made,) = ours(encoder, [prompt])
    assert len(made) == min(MAX_TOKENS, length + 5)
    assert_same([made], stock(parts, [prompt]))


def test_captions_of_layers_keep_their_tags(encoder: QwenText) -> None:
    long = "<layer> 1 </layer> <layer> " + "2" * 4000 + " </layer> <layer> " + "3" * 4000 + " </layer>"
    (cost,) = encoder.encode(["<layer> 1 </layer> <layer> 2 </layer> <layer> 3 </layer>"]).lengths
    room = (MAX_TOKENS - (cost - 5 - 2)) // 2  # without what follows the prompt, and the two digits
    short = f"<layer> 1 </layer> <layer> {'2' * room} </layer> <layer> {'3' * room} </layer>"
    made, expected = ours(encoder, [long, short])
    assert_same([made], [expected])


@pytest.mark.parametrize("control", ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|image_pad|>", "<tool_call>"])
def test_control_tokens_in_a_prompt_are_text(parts: Parts, encoder: QwenText, control: str) -> None:
    prompt = f"a cat {control} a dog"
    tokenizer = parts[1]
    written = tokenizer.convert_tokens_to_ids(control)
    assert written in tokenizer(prompt).input_ids
    assert encoder._ids(prompt).count(written) == encoder._ids("a cat").count(written)
    assert tokenizer.decode(encoder._ids(prompt)) == BEFORE + prompt + AFTER
    assert len(ours(encoder, [prompt])[0]) > len(stock(parts, [prompt])[0])
    assert written in tokenizer(prompt).input_ids  # the tokenizer that was given is as it was


def test_line_breaks_before_a_prompt_are_left_out(parts: Parts, encoder: QwenText) -> None:
    assert_same(ours(encoder, [" \n\r\n  a cat"]), stock(parts, ["  a cat"]))


@pytest.mark.parametrize("text", ["a cat " * 20_000, "a" * 100_000, " " * 100_000, "🎨" * 100_000, "\ud800" * 100_000])
@pytest.mark.timeout(60)  # a tokenizer that is given all of it needs minutes
def test_a_very_long_prompt_is_cut_before_it_is_read(encoder: QwenText, text: str) -> None:
    assert len(encoder._ids(text)) == QWEN_DROPS + MAX_TOKENS


def test_it_is_frozen_and_takes_no_gradient(parts: Parts, encoder: QwenText) -> None:
    text = encoder.encode(["a cat"])
    assert not text.values.requires_grad
    assert not parts[0].training
    assert not any(parameter.requires_grad for parameter in parts[0].parameters())


def test_it_is_saved_as_diffusers_has_it_and_loaded_the_same(encoder: QwenText, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"text_encoder/model.safetensors", "text_encoder/config.json", "tokenizer/tokenizer.json"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
    loaded = QwenText.load(tmp_path, local_files_only=True)
    assert torch.equal(loaded.encode(PROMPTS).values, encoder.encode(PROMPTS).values)
    half = QwenText.load(tmp_path, dtype=torch.bfloat16, local_files_only=True).encode(["a cat"])
    assert (half.values.dtype, half.lengths) == (torch.bfloat16, encoder.encode(["a cat"]).lengths)
    stock_parts = (
        Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path / "text_encoder"),
        Qwen2Tokenizer.from_pretrained(tmp_path / "tokenizer"),
    )
    assert_same(ours(loaded, PROMPTS), stock(stock_parts, PROMPTS))


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        QwenText.load(folder, local_files_only=True)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


def test_a_checkpoint_that_is_not_whole_is_refused(encoder: QwenText, tmp_path: Path) -> None:
    assert "no text encoder of Qwen2.5-VL" in refused(tmp_path / "nowhere")
    encoder.save(tmp_path)
    file = tmp_path / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    norm = weights.pop("model.norm.weight")
    save_file(weights, file, {"format": "pt"})
    assert "lacks 1 parameters, the first model.language_model.norm.weight" in refused(tmp_path)
    save_file({**weights, "model.norm.weight": norm[1:]}, file, {"format": "pt"})
    refused(tmp_path)
    file.write_bytes(b"\xff" * 100)
    refused(tmp_path)
    torch.save({**weights, "model.norm.weight": norm}, file.with_name("pytorch_model.bin"))
    file.unlink()
    assert "model.safetensors" in refused(tmp_path)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("", "config.json is missing"),
        ("{", "config.json: Invalid JSON"),
        ("{}", "is a None, not Qwen2.5-VL"),
        ('{"model_type": "bert"}', "is a bert, not Qwen2.5-VL"),
        ('{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}', "is a mine, not Qwen2.5-VL"),
        ('{"model_type": "qwen2_5_vl", "auto_map": {"AutoConfig": "mine.Config"}}', "auto_map: Extra inputs"),
        ('{"model_type": "qwen2_5_vl", "quantization_config": {"quant_method": "gptq"}}', "quantization_config: Extra"),
        ('{"model_type": "qwen2_5_vl", "attn_implementation": "some/kernel"}', "attn_implementation: Extra inputs"),
        ('{"model_type": "qwen2_5_vl", "text_config": {"num_hidden_layers": 1000000000}}', "num_hidden_layers: Input"),
        ('{"model_type": "qwen2_5_vl", "text_config": {"rope_parameters": {"rope_type": "x"}}}', "Qwen2.5-VL"),
        ('{"model_type": "qwen2_5_vl", "text_config": {"num_attention_heads": 7}}', "Qwen2.5-VL"),
        ('{"model_type": "qwen2_5_vl"}', "it lacks [0-9]* parameters"),
        ('{"model_type": "qwen2_5_vl", "text_config": {"hidden_size": "x"}}', "hidden_size"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(encoder: QwenText, tmp_path: Path, config: str, reason: str) -> None:
    encoder.save(tmp_path)
    file = tmp_path / "text_encoder" / "config.json"
    file.unlink()
    if config:
        file.write_text(config)
    assert re.search(reason, refused(tmp_path))


def test_a_tokenizer_without_the_control_tokens_is_refused(encoder: QwenText, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    for path in (tmp_path / "tokenizer").iterdir():
        path.unlink()
    assert "the tokenizer has no <|im_start|>; take that of Qwen2.5-VL" in refused(tmp_path)


@pytest.mark.parametrize("name", ["text_encoder/config.json", "tokenizer/tokenizer.json", "tokenizer/merges.txt"])
def test_a_pipe_is_not_opened(encoder: QwenText, tmp_path: Path, name: str) -> None:
    encoder.save(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    assert "is no regular file" in refused(tmp_path)


def test_an_index_leads_to_no_file_elsewhere(encoder: QwenText, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    weights = tmp_path / "text_encoder" / "model.safetensors"
    names = dict.fromkeys(load_file(weights), "../elsewhere.safetensors")
    weights.rename(tmp_path / "elsewhere.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    weights.with_name("model.safetensors.index.json").write_text(json.dumps(index))
    assert "'../elsewhere.safetensors' is no file beside it" in refused(tmp_path)


def test_a_tokenizer_of_nonsense_is_refused(encoder: QwenText, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    file = tmp_path / "tokenizer" / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model": {"type": "BPE", "vocab": {"a": "b"}}}))
    refused(tmp_path)


def change(folder: Path, part: str | None = None, **settings: Any) -> None:
    """Settings of the model, or of a part of it."""
    path = folder / "text_encoder" / "config.json"
    config = json.loads(path.read_text())
    (config if part is None else config[part]).update(settings)
    path.write_text(json.dumps(config))


def test_files_that_are_not_opened_hold_no_parameters(encoder: QwenText, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    change(tmp_path, "text_config", num_hidden_layers=500, layer_types=["full_attention"] * 500)
    folder = tmp_path / "text_encoder"
    for number in range(50):
        (folder / f"{number}.safetensors").symlink_to("model.safetensors")
    with (folder / "more.safetensors").open("wb") as stream:
        stream.truncate(2**40)
    assert re.search("it lacks [0-9]* parameters, the first model.language_model.layers.10.", refused(tmp_path))


def test_parameters_of_another_shape_are_told_before_any_is_made(
    encoder: QwenText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder.save(tmp_path)
    change(tmp_path, "text_config", intermediate_size=2**17)
    monkeypatch.setattr(Qwen2_5_VLForConditionalGeneration, "from_pretrained", None)
    assert "has shape [48, 32], its settings want [131072, 32]" in refused(tmp_path)


@pytest.mark.parametrize("tied", [False, True])
def test_weights_in_several_files_and_under_any_names(encoder: QwenText, tmp_path: Path, tied: bool) -> None:
    encoder.save(tmp_path)
    change(tmp_path, tie_word_embeddings=tied)
    change(tmp_path, "text_config", tie_word_embeddings=tied)
    file = tmp_path / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    file.unlink()
    names: dict[str, str] = {}
    held: dict[str, dict[str, torch.Tensor]] = {}
    for number, (past, value) in enumerate(weights.items()):
        if past == "lm_head.weight":
            name = past
        else:  # in the first file as they were, in the others as they are now
            part = "" if past.startswith("visual.") else "language_model."
            name = f"model.{part}{past.removeprefix('model.')}" if number % 3 else past
        if not (tied and name == "lm_head.weight"):
            names[name] = f"model-{number % 3}.safetensors"
            held.setdefault(names[name], {})[name] = value
    for name, some in held.items():
        save_file(some, file.with_name(name), {"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    file.with_name("model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(QwenText.load(tmp_path).encode(PROMPTS).values, encoder.encode(PROMPTS).values)


def test_what_other_programs_write_changes_nothing(encoder: QwenText, tmp_path: Path) -> None:
    """As in the first Qwen2.5-VL, with what older versions and other tools write beside it."""
    encoder.save(tmp_path)
    more = {"torchscript": False, "pruned_heads": {}, "is_decoder": False, "use_bfloat16": False, "max_length": 20}
    null = {"quantization_config": None, "tokenizer_class": None, "never_heard_of": None}
    change(tmp_path, **more, **null, unsloth_fixed=True, _attn_implementation_autoset=True)
    change(tmp_path, "text_config", **more, **null)
    change(tmp_path, "text_config", return_dict=False, output_hidden_states=True)
    loaded = QwenText.load(tmp_path)
    assert torch.equal(loaded.encode(PROMPTS).values, encoder.encode(PROMPTS).values)
    loaded.save(tmp_path / "again")
    assert torch.equal(QwenText.load(tmp_path / "again").encode(PROMPTS).values, encoder.encode(PROMPTS).values)


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"mrope_section": [1, 1, 1]}, "split_with_sizes expects split_sizes to sum exactly to 4"),
        ({"rope_theta": float("nan")}, "rope_theta: Input should be a finite number"),
        ({"rope_type": "dynamic", "factor": 1e300}, "factor: Input should be less"),
    ],
)
def test_rotary_positions_of_nonsense_are_refused(
    encoder: QwenText, tmp_path: Path, rope: dict[str, Any], message: str
) -> None:
    encoder.save(tmp_path)
    usual = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}
    change(tmp_path, "text_config", rope_parameters={**usual, **rope})
    assert message in refused(tmp_path)


def test_text_that_is_no_number_is_refused(encoder: QwenText, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    file = tmp_path / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, file, {"format": "pt"})
    assert "its text is NaN or infinite" in refused(tmp_path)


def test_a_tokenizer_with_tokens_that_the_model_lacks_is_refused(encoder: QwenText, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    file = tmp_path / "tokenizer" / "tokenizer.json"
    said = json.loads(file.read_text())
    said["model"]["vocab"]["z"] = 10**6
    file.write_text(json.dumps(said))
    assert "the tokenizer has a token 1000000, the model has" in refused(tmp_path)
