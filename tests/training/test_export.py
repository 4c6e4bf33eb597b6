"""What a run leaves is a folder that others load: averaged weights, whole and plain."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImageTransformer2DModel
from safetensors.torch import load_file

from model.bundle import Bundle
from model.tasks import Task
from model.transformer import NEW_PARAMETERS
from pipelines.storage import Store
from tests.training.example_batches import codec, micro_batch
from tests.training.small_learner import small_learner
from tests.training.stepping import ALONE, lively_learner, weights_of
from tests.training.tiny_runs import config, saved
from training.average import Average, AverageConfig
from training.errors import TrainingError
from training.evaluation.checkpoints import load
from training.examples import ExampleConfig, prepare
from training.export import export, is_exported
from training.lora import LoraSettings, add_lora
from training.noise import NoiseConfig, draw_noise
from training.outputs import Output
from training.parallel import join
from training.run import opened
from training.sampled import Sampler, sample_tokens
from training.train import train


@pytest.fixture(scope="module")
def trained(designs: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three steps with large strides."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert train(config(designs, out, run__steps=3, optimiser__lr=0.02))
    return out


def checkpoint(out: Path) -> dict[str, Any]:
    [path] = out.glob("checkpoints/*/rank-00000.safetensors")
    return load_file(path)


def test_the_averaged_weights_are_exported(trained: Path) -> None:
    kept = checkpoint(trained)
    bundle = Bundle.load(trained / "model")
    found = {f"transformer.{name}": value for name, value in bundle.transformer.state_dict().items()}
    text = load_file(trained / "model" / "text" / "diffusion_pytorch_model.safetensors")
    found |= {f"trained_text.{name}": value for name, value in text.items()}
    averages = {name.removeprefix("average."): value for name, value in kept.items() if name.startswith("average.")}
    assert set(found) == set(averages)
    assert all(torch.equal(value, averages[name]) for name, value in found.items())
    moved = [name for name, value in found.items() if not torch.equal(value, kept[f"weights.{name}"])]
    assert len(moved) > len(found) / 2


def test_diffusers_own_class_reads_the_transformer(trained: Path) -> None:
    ours = Bundle.load(trained / "model").transformer.state_dict()
    theirs, report = QwenImageTransformer2DModel.from_pretrained(
        trained / "model", subfolder="transformer", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert all(name.split(".")[0] in NEW_PARAMETERS for name in report["unexpected_keys"])
    assert all(torch.equal(value, ours[name]) for name, value in theirs.state_dict().items())


def test_a_model_goes_on_as_the_weights_of_another_run(trained: Path, designs: Store, tmp_path: Path) -> None:
    given = config(designs, tmp_path / "more", run__steps=1, model={"weights": str(trained / "model")})
    with join("cpu") as world, opened(given, world) as run:
        begun = weights_of(run.learner)
    kept = checkpoint(trained)
    assert all(torch.equal(value, kept[f"average.{name}"]) for name, value in begun.items())
    assert train(given)
    assert not (tmp_path / "more" / "codec").exists()
    codecs = [
        (folder / "model" / "codec" / "basis.safetensors").read_bytes() for folder in (trained, tmp_path / "more")
    ]
    assert codecs[0] == codecs[1]


def test_an_adapter_is_folded_in(designs: Store, trained: Path, tmp_path: Path) -> None:
    given = {
        "model": {"weights": str(trained / "model"), "lora": {"rank": 2, "alpha": 2.0}},
        "optimiser__lr": 0.02,
    }
    assert train(config(designs, tmp_path / "run", run__steps=2, **given))
    before, after = (Bundle.load(path / "model").transformer.state_dict() for path in (trained, tmp_path / "run"))
    assert set(before) == set(after)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert any(name.endswith("attn.to_q.weight") for name in changed)
    assert not any(name.endswith("bias") or name.startswith("img_in") for name in changed)
    assert all("lora_" in name or name.startswith("average.") or "optimiser." in name or name.split(".")[2] in
               NEW_PARAMETERS for name in checkpoint(tmp_path / "run"))  # fmt: skip
    assert train(config(designs, tmp_path / "run", run__steps=4, **given))
    assert saved(tmp_path / "run")[-1] == 4


def test_it_replaces_what_was_there_and_changes_no_weight(tmp_path: Path) -> None:
    learner = lively_learner()
    before = weights_of(learner)
    output = Output(str(tmp_path))
    (tmp_path / "model" / "old").mkdir(parents=True)
    (tmp_path / "model" / "old" / "file").touch()
    url = export(small_learner(), output, "model", ALONE)
    assert url == export(learner, output, "model", ALONE)
    assert not (tmp_path / "model" / "old").exists()
    loaded = Bundle.load(tmp_path / "model")
    for name, value in loaded.transformer.state_dict().items():
        assert torch.equal(value, before[f"transformer.{name}"])
    assert all(torch.equal(value, before[name]) for name, value in weights_of(learner).items())
    assert json.loads((tmp_path / "model" / "acetate.json").read_text("utf-8"))["preset"] == "tiny"


def test_a_swapped_adapter_is_exported_as_it_is_averaged(tmp_path: Path) -> None:
    learner = lively_learner()
    add_lora(learner, LoraSettings(rank=2, alpha=2.0))
    average = Average(learner, AverageConfig(decay=0.0))
    kept = weights_of(learner)
    with torch.no_grad():
        for _, value in learner.trained():
            value.add_(1.0)
    with average.swapped():
        export(learner, Output(str(tmp_path)), "model", ALONE)
    plain = lively_learner().transformer.state_dict()
    name = "transformer_blocks.0.attn.to_q"
    down, up = (kept[f"transformer.{name}.{part}.default.weight"] for part in ("lora_A", "lora_B"))
    found = Bundle.load(tmp_path / "model").transformer.state_dict()
    torch.testing.assert_close(found[f"{name}.weight"], plain[f"{name}.weight"] + up @ down)


def test_the_place_of_a_whole_model_is_known(tmp_path: Path) -> None:
    output, place = Output(str(tmp_path)), {"stage": 0, "step": 3}
    assert not is_exported(output, "model", ALONE, place)
    export(small_learner(), output, "model", ALONE, place)
    assert is_exported(output, "model", ALONE, place)
    assert not is_exported(output, "model", ALONE, place | {"step": 4})
    (tmp_path / "model" / "acetate.json").unlink()
    assert not is_exported(output, "model", ALONE, place)


def test_weights_may_be_stored_in_half_the_bytes(tmp_path: Path) -> None:
    learner = lively_learner()
    for dtype in (torch.float32, torch.bfloat16):
        export(learner, Output(str(tmp_path)), str(dtype), ALONE, dtype=dtype)
    for part in ("transformer", "text"):
        name = f"{part}/diffusion_pytorch_model.safetensors"
        stored = [load_file(tmp_path / folder / name) for folder in ("torch.float32", "torch.bfloat16")]
        sizes = [sum(value.nbytes for value in some.values()) for some in stored]
        assert sizes[0] == 2 * sizes[1]
    bases = [(tmp_path / str(dtype) / "codec" / "basis.safetensors") for dtype in (torch.float32, torch.bfloat16)]
    assert bases[0].read_bytes() == bases[1].read_bytes()
    loaded = load(tmp_path / "torch.bfloat16", torch.device("cpu"))
    assert all(value.dtype is torch.float32 for value in loaded.parameters())
    example = prepare(micro_batch([(0, Task.IMAGE_TO_LAYERS)]), codec(), ExampleConfig(), seed=0, device="cpu")
    noise = draw_noise(example, NoiseConfig(), 0)
    with torch.no_grad():
        torch.testing.assert_close(loaded(example, noise), learner(example, noise), rtol=0.02, atol=0)
    assert bool(sample_tokens(loaded, example, Sampler(steps=2)).isfinite().all())


def test_a_finished_run_is_exported_again_in_another_type(trained: Path, designs: Store, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    kept = {"run__steps": 3, "optimiser__lr": 0.02}
    weights = tmp_path / "run" / "model" / "transformer" / "diffusion_pytorch_model.safetensors"
    for dtype in ("bfloat16", "float32"):
        assert train(config(designs, tmp_path / "run", **kept, run__export_dtype=dtype))
        assert {str(value.dtype) for value in load_file(weights).values()} == {f"torch.{dtype}"}


def test_a_store_that_refuses_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"cannot (write|remove)"):
        export(small_learner(), Output(str(tmp_path / "file")), "model", ALONE)
