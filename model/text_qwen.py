"""Qwen2.5-VL as the text encoder, with the template of Qwen-Image.

The template asks for a description of a picture; the states over the prompt and what follows it are the text tokens
(diffusers, ``QwenImagePipeline``). Shapes: D prompts, L tokens of the longest, S text tokens, E width of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from model.errors import CheckpointError
from model.folder import MAX_TABLE, check_files, loading, read, tensors
from model.prompts import fit
from model.settings import QwenSettings, check_settings
from model.text import Text, TextEncoder

BEFORE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
AFTER = "<|im_end|>\n<|im_start|>assistant\n"
"""The template around a prompt. The states of what stands before are dropped: 34 tokens with Qwen's own tokenizer."""

MAX_TOKENS = 1024
"""Text tokens of a prompt with what follows it; a prompt that needs all of them cuts off the end of the template."""

_STATES = {"return_dict": True, "output_hidden_states": False, "output_attentions": False}
"""The last ones alone, by name, whatever the settings of a checkpoint say."""

_CONTROL = re.compile(r"(<\|im_start\|>|<\|im_end\|>)")
_FIRST_BREAKS = re.compile(r"\s*[\r\n]+")
"""Would make one token with the line break of the template before them."""


class QwenText(TextEncoder):
    """Frozen Qwen2.5-VL: the states of its last layer over a prompt in the template of Qwen-Image."""

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration, tokenizer: Qwen2Tokenizer) -> None:
        """Freezes the model.

        Raises:
            CheckpointError: the tokenizer lacks the control tokens of the template, or has tokens that the model lacks.
        """
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._plain = _without_control_tokens(tokenizer)
        self._before, self._after = self._template(BEFORE), self._template(AFTER)
        self.width: int = model.config.text_config.hidden_size
        most = max([*self._plain.get_vocab().values(), *self._before, *self._after])
        if most >= (known := model.get_input_embeddings().num_embeddings):
            raise CheckpointError(f"the tokenizer has a token {most}, the model has {known}; take the model's own")

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        local_files_only: bool = False,
    ) -> QwenText:
        """Load ``text_encoder`` and ``tokenizer`` of a folder or a hub repository in diffusers' layout.

        ``dtype`` None: the checkpoint's. The language model alone goes to ``device``; neither the vision tower nor the
        head is needed. Safetensors only. It encodes once, which shows whether its settings fit together.

        Raises:
            CheckpointError: it is not there, damaged, or not Qwen2.5-VL.
        """
        what = f"no text encoder of Qwen2.5-VL at {path}"
        with loading(what):
            encoder = cls(*_load(path, dtype or "auto", local_files_only))
        encoder._model.model.language_model.to(device)  # a device that is not there is no fault of the checkpoint
        with loading(what):
            if not bool(encoder.encode([""]).values.isfinite().all()):
                raise CheckpointError("its text is NaN or infinite; copy it again, or load it in bfloat16 or float32")
        return encoder

    def save(self, folder: Path) -> None:
        """Write ``text_encoder`` and ``tokenizer`` in diffusers' layout."""
        self._model.save_pretrained(folder / "text_encoder")
        self._tokenizer.save_pretrained(folder / "tokenizer")

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Text:
        language = self._model.model.language_model
        rows = [torch.tensor(self._ids(prompt)) for prompt in prompts]
        if not rows:
            return Text(torch.empty(0, self.width, dtype=language.dtype, device=language.device), ())
        ids_DL = pad_sequence(rows, batch_first=True).to(language.device)
        # No mask: what pads a prompt stands behind it, where causal attention does not look.
        states_DLE: Tensor = language(input_ids=ids_DL, use_cache=False, **_STATES).last_hidden_state
        dropped = len(self._before)
        kept = [states_LE[dropped : len(row)] for states_LE, row in zip(states_DLE, rows, strict=True)]
        return Text(torch.cat(kept), tuple(len(some) for some in kept))

    def _ids(self, prompt: str) -> list[int]:
        breaks = _FIRST_BREAKS.match(prompt)
        prompt_ids = fit(prompt[breaks.end() :] if breaks else prompt, self._tokenise, MAX_TOKENS)
        return self._before + (prompt_ids + self._after)[:MAX_TOKENS]

    def _tokenise(self, text: str) -> list[int]:
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def _template(self, text: str) -> list[int]:
        out = []
        for piece in _CONTROL.split(text):
            if not _CONTROL.fullmatch(piece):
                out += self._tokenise(piece)
            elif (control := self._tokenizer.backend_tokenizer.token_to_id(piece)) is not None:
                out.append(control)
            else:
                raise CheckpointError(f"the tokenizer has no {piece}; take that of Qwen2.5-VL")
        return out


def _load(
    path: str | Path, dtype: torch.dtype | str, local_files_only: bool
) -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer]:
    where = {"pretrained_model_name_or_path": path, "local_files_only": local_files_only}
    # Without this look, a folder that lacks its config is taken for the largest Qwen2.5-VL, which fills the memory.
    settings = _settings(path, local_files_only)
    if (kind := settings.get("model_type")) != Qwen2_5_VLConfig.model_type:
        raise CheckpointError(f"it is a {str(kind)[:100]}, not Qwen2.5-VL")
    check_settings(settings, QwenSettings, "its settings")
    if Path(path).is_dir():
        _check_weights(Path(path) / "text_encoder")
    tokenizer = Qwen2Tokenizer.from_pretrained(**where, subfolder="tokenizer")
    model, loaded = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        **where, subfolder="text_encoder", dtype=dtype, use_safetensors=True, output_loading_info=True
    )
    if missing := sorted(loaded["missing_keys"]):
        raise CheckpointError(f"it lacks {len(missing)} parameters, the first {missing[0]}")
    return model, tokenizer


def _check_weights(folder: Path) -> None:
    """Parameters that no file holds would be drawn, and fill the memory before it is seen that they are missing."""
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_pretrained(folder, local_files_only=True))
    held = {_present_name(name): said.get("shape") for file in _weights(folder) for name, said in tensors(file).items()}
    wanted = {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    if missing := sorted(wanted.keys() - held.keys()):
        raise CheckpointError(f"it lacks {len(missing)} parameters, the first {missing[0]}")
    for name, shape in wanted.items():
        if held[name] != shape:
            raise CheckpointError(f"{name} has shape {str(held[name])[:100]}, its settings want {shape}")


def _weights(folder: Path) -> list[Path]:
    """The files that ``transformers`` opens: one, or else those of the index."""
    index = folder / "model.safetensors.index.json"
    if (whole := folder / "model.safetensors").is_file() or not index.is_file():
        return [whole]
    names = read(index, dict[str, Any], MAX_TABLE)["weight_map"].values()
    return [folder / name for name in sorted(set(names))]


def _present_name(name: str) -> str:
    """The name of a parameter, which checkpoints have as it was before the vision tower stood beside the language."""
    if name.startswith(("visual.", "language_model.")):
        return f"model.{name}"
    part, _, rest = name.partition(".")
    past = part == "model" and not rest.startswith(("visual.", "language_model."))
    return f"model.language_model.{rest}" if past else name


def _settings(path: str | Path, local_files_only: bool) -> dict[str, Any]:
    """Of the model, once the files of a folder are looked at."""
    found: dict[str, Any]
    if not Path(path).is_dir():
        found, _ = Qwen2_5_VLConfig.get_config_dict(path, subfolder="text_encoder", local_files_only=local_files_only)
        return found
    for name in ("text_encoder", "tokenizer"):
        if not (Path(path) / name).is_dir():
            raise CheckpointError(f"{name} is missing; copy it again")
        check_files(Path(path) / name)
    found = read(Path(path) / "text_encoder" / "config.json", dict[str, Any])
    return found


def _without_control_tokens(tokenizer: Qwen2Tokenizer) -> Tokenizer:
    """The tokenizer for prompts, which anybody may have written: ``<|im_end|>`` in one is text like any other."""
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    return Tokenizer.from_str(
        json.dumps({**description, "added_tokens": [], "post_processor": None, "truncation": None, "padding": None})
    )
