"""Codecs that are trained: they learn, go on where they were, load as they were, and leave alone what is frozen."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from model.codecs.inflate import LayerVae, inflate
from model.codecs.joint import JointCodec
from model.codecs.vae import GrayCodec, RgbaCodec, VaeCodec
from model.tasks import Task
from pipelines.storage import Store
from tests.pipelines.dataset_builder import Entry, make_sample, publish
from tests.training.example_batches import micro_batch
from tests.training.processes import start_ranks
from training import codec_training
from training.codec_config import CodecTrainConfig, load_config, open_codec
from training.codec_learner import CodecLearner, Layers, VaeLearner, learner_of
from training.codec_losses import PARTS, LossConfig, Losses, laplacian, over
from training.codec_measures import FirstDesigns, latent_statistics
from training.codec_training import CodecStepper, main, train_codec
from training.errors import NonFiniteError, UsageError
from training.optimiser import Optimiser
from training.outputs import Output
from training.parallel import World
from training.run_lock import RunLock
from training.stream import DesignStream

VAE = {"base_dim": 8, "dim_mult": [1, 2], "temperal_downsample": [False], "num_res_blocks": 1, "z_dim": 4}
DECODER = {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 8, "axes_dims_rope": [2, 2, 4]}
KINDS: dict[str, Any] = {"rgba": RgbaCodec, "gray": GrayCodec, "joint": JointCodec}
CPU = torch.device("cpu")
WORLD = World(0, 1, 0, CPU)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """8 designs to learn from and 2 that are held out."""
    splits = ["train"] * 8 + ["validation"] * 2
    entries = [
        Entry(make_sample(number, side=32), split=split, unit=number // 4) for number, split in enumerate(splits)
    ]
    return publish(tmp_path_factory.mktemp("codec-designs"), entries)


def config(dataset: Store | None, out: Path, kind: str = "rgba", **changes: Any) -> CodecTrainConfig:
    """``changes`` have ``__`` in place of the dots."""
    known: dict[str, Any] = {
        "run.out": str(out),
        "run.steps": 4,
        "run.device": "cpu",
        "data.dataset": str(dataset.root) if dataset else "none",
        "data.resolution": 16,
        "data.token_budget": 250,
        "codec.kind": kind,
        "codec.vae": VAE,
        "optimiser.lr": 2e-3,
        "average.decay": 0.5,
        "checkpoint.every": 0,
        "validation.designs": 2,
        "watch": {"log_every": 1, "validate_every": 0, "samples_every": 0, "tensorboard": False},
    }
    if kind == "joint":
        known |= {"codec.decoder": DECODER}
    return load_config(None, known | {name.replace("__", "."): value for name, value in changes.items()})


def curve(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def learner(given: CodecTrainConfig) -> CodecLearner:
    codec = open_codec(given.codec, given.run.seed, CPU)
    return learner_of(codec, Losses(given.losses, codec, CPU))


def stepper(given: CodecTrainConfig) -> CodecStepper:
    made = learner(given)
    return CodecStepper(made, Optimiser(made, given.optimiser, given.run.steps), given, WORLD)


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def picture(side: int = 16, *, opaque: bool = False, seed: int = 0) -> Tensor:
    pixels = torch.randint(0, 256, (side, side, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    if opaque:
        pixels[..., 3] = 255
    return pixels


BATCH = micro_batch([(0, Task.TEXT_TO_LAYERS), (1, Task.TEXT_TO_LAYERS)])
"""Its tokens are of 4 px, as those of ``VAE``."""
ONE = micro_batch([(0, Task.TEXT_TO_LAYERS)])


@pytest.mark.parametrize("kind", KINDS)
def test_steps_lower_the_loss_and_move_nothing_that_is_frozen(kind: str, dataset: Store, tmp_path: Path) -> None:
    given = config(dataset, tmp_path, kind, opaque=0.0, optimiser__lr=5e-3)
    batch = next(FirstDesigns(given.data.stream_settings(4), 1, WORLD).read())
    step = stepper(given)
    codec: Any = step.learner.codec
    vae = (codec.encoder if kind == "joint" else codec).vae
    before, decoder = weights(vae), weights(step.learner.trained)
    reports = [step([batch], number) for number in range(12)]
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert reports[0].designs == len(batch.keys) and reports[0].tokens == batch.tokens
    changed = moved(before, weights(vae))
    parts = {name.partition(".")[0] for name in changed}
    assert (
        parts
        == {
            "rgba": {"encoder", "quant_conv", "post_quant_conv", "decoder"},
            "gray": {"post_quant_conv", "decoder"},
            "joint": set(),
        }[kind]
    )
    assert moved(decoder, weights(step.learner.trained))
    assert (reports[0].parts["kl"] > 0) == (kind == "rgba")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_gives_back_what_training_saw(kind: str, dataset: Store, tmp_path: Path) -> None:
    watch = {"log_every": 1, "validate_every": 4, "samples_every": 4, "sample_designs": 2}
    given = config(dataset, tmp_path, kind, average__decay=0.0, watch=watch)
    seen: list[CodecLearner] = []
    with pytest.MonkeyPatch.context() as patch:
        made: Callable[..., CodecLearner] = learner_of
        patch.setattr(codec_training, "learner_of", lambda *parts: seen.append(made(*parts)) or seen[0])
        assert train_codec(given)
    loaded, pixels = KINDS[kind].load(tmp_path / "codec"), [picture(), picture(8)]
    trained = seen[0].codec
    tokens = loaded.encode(pixels)
    assert torch.equal(tokens, trained.encode(pixels))
    sizes = [(4, 4), (2, 2)]
    for ours, theirs in zip(loaded.decode(tokens, sizes), trained.decode(tokens, sizes), strict=True):
        assert torch.equal(ours, theirs)
    last = curve(tmp_path)[-1]
    assert 0 < last["validation/rgb_l1"] < 1 and 0 < last["validation/alpha_l1"] < 1
    assert 0 < last["validation/alpha_iou"] < 1 and 0 < last["validation/composite_psnr"] < 50
    assert len(list((tmp_path / "samples").iterdir())) == 1


def test_the_folder_says_all_that_was_asked_and_what_was_read(dataset: Store, tmp_path: Path) -> None:
    given = config(dataset, tmp_path, run__steps=1)
    assert train_codec(given)
    written = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    assert written["losses"]["kl"] == given.losses.kl and written["data"]["split"] == "train"
    assert CodecTrainConfig.model_validate(written) == given
    facts = json.loads((tmp_path / "environment.json").read_text(encoding="utf-8"))
    fingerprint = DesignStream(dataset.root).fingerprint
    assert facts["datasets"] == [{"url": dataset.root, "fingerprint": fingerprint}]


def test_a_run_goes_on_where_its_folder_lacks_keys(dataset: Store, tmp_path: Path) -> None:
    assert train_codec(config(dataset, tmp_path, run__steps=1))
    given = config(dataset, tmp_path, run__steps=2)
    least = yaml.safe_dump(given.model_dump(mode="json", exclude_unset=True))
    (tmp_path / "config.yaml").write_text(least, encoding="utf-8")
    assert train_codec(given)


def test_a_second_run_in_the_folder_is_refused(dataset: Store, tmp_path: Path) -> None:
    lock = RunLock(Output(str(tmp_path / "run")))
    lock.claim()
    with pytest.raises(UsageError, match=r"/run is in use by process \d+ on .*: stop that run, or set run\.out"):
        train_codec(config(dataset, tmp_path / "run"))
    lock.release()
    assert list((tmp_path / "run").iterdir()) == []


def test_resumed_is_undisturbed(dataset: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train_codec(config(dataset, tmp_path / "one", run__steps=4))

    after = codec_training.CodecRun.after

    def interrupted(run: codec_training.CodecRun, *given: Any) -> None:
        after(run, *given)
        if run.step == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(codec_training.CodecRun, "after", interrupted)
    parts = config(dataset, tmp_path / "parts", run__steps=4)
    assert not train_codec(parts) and not (tmp_path / "parts" / "codec").exists()
    assert train_codec(parts)
    losses = [[(line["loss"], line["gradient_norm"]) for line in curve(tmp_path / name)] for name in ("one", "parts")]
    assert len(losses[0]) == 4 and losses[0] == losses[1]
    one, two = (RgbaCodec.load(tmp_path / name / "codec") for name in ("one", "parts"))
    assert not moved(weights(one.vae), weights(two.vae))


@pytest.mark.slow  # two processes
def test_two_ranks_make_the_steps_of_one(dataset: Store, tmp_path: Path) -> None:
    """Among them one that no rank shares evenly: the last of an epoch."""
    changes = {"run__steps": 5, "run__micro_batches": 2, "statistics": 8}
    assert train_codec(config(dataset, tmp_path / "one", **changes))
    given = config(dataset, tmp_path / "two", **changes).model_dump(mode="json", exclude_unset=True)
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(given), encoding="utf-8")
    ranks = start_ranks(2, ["-m", "training.codec_training", str(path)])
    logs = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(logs)
    for one, two in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert one["designs"] == two["designs"]
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
    alone, shared = (RgbaCodec.load(tmp_path / name / "codec") for name in ("one", "two"))
    assert shared.vae.config["latents_std"] == pytest.approx(alone.vae.config["latents_std"], rel=1e-3)
    others = weights(shared.vae)
    for name, value in weights(alone.vae).items():
        torch.testing.assert_close(value, others[name], rtol=0, atol=1e-3)


def rgb_vae(folder: Path) -> LayerVae:
    """As a hub has it, in a folder."""
    torch.manual_seed(1)
    vae = LayerVae(**{**VAE, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}).eval()
    vae.save_pretrained(folder)
    return vae


def test_an_rgb_picture_has_and_keeps_an_alpha_of_one(tmp_path: Path) -> None:
    rgb_vae(tmp_path / "rgb")
    step = stepper(config(None, tmp_path, opaque=1.0, codec__vae={}, codec__path=str(tmp_path / "rgb")))
    layers = Layers.of(BATCH, 4, CPU).some_opaque(1.0)
    assert all(bool((pixels[..., 3] == 255).all()) for pixels in layers.pictures)
    codec = step.learner.codec
    pixels = picture(opaque=True)
    [begun] = codec.decode(codec.encode([pixels]), [(4, 4)])
    assert bool((begun[..., 3] == 255).all())
    reports = [step([ONE], number) for number in range(6)]
    [back] = codec.decode(codec.encode([pixels]), [(4, 4)])
    assert int(back[..., 3].min()) > 225
    assert reports[0].parts["alpha"] == 0


def test_an_rgb_vae_begins_as_it_was(tmp_path: Path) -> None:
    """Colours are what they were, and a codec that was trained is gone on with."""
    rgb = rgb_vae(tmp_path / "rgb")
    source = config(None, tmp_path, codec__vae={}, codec__path=str(tmp_path / "rgb")).codec
    codec = open_codec(source, 0, CPU)
    assert isinstance(codec, RgbaCodec)
    assert not moved(weights(inflate(rgb)), weights(codec.vae))
    codec.save(tmp_path / "again")
    again = open_codec(source.model_copy(update={"path": str(tmp_path / "again")}), 0, CPU)
    assert isinstance(again, VaeCodec) and not moved(weights(codec.vae), weights(again.vae))


def test_a_joint_codec_is_gone_on_with(tmp_path: Path) -> None:
    source = config(None, tmp_path, "joint").codec
    codec = open_codec(source, 0, CPU)
    assert isinstance(codec, JointCodec)
    codec.save(tmp_path / "joint")
    changes = {"path": str(tmp_path / "joint"), "vae": {}}
    again = open_codec(source.model_copy(update={**changes, "decoder": {}}), 1, CPU)
    assert isinstance(again, JointCodec) and not moved(weights(codec.decoder), weights(again.decoder))
    with pytest.raises(UsageError, match=r"leave codec\.decoder out"):
        open_codec(source.model_copy(update=changes), 1, CPU)


def test_the_memory_of_a_step_may_be_bounded_without_changing_it(tmp_path: Path) -> None:
    """Every draw is by design and layer: however pictures are batched, and whichever micro-batch has a design."""
    reports = [stepper(config(None, tmp_path, codec__batch_px=size))([BATCH], 0) for size in (1, 1 << 20)]
    alone = [micro_batch([(number, Task.TEXT_TO_LAYERS)]) for number in (1, 0)]
    reports.append(stepper(config(None, tmp_path))([*alone, micro_batch([])], 0))
    for report in reports[1:]:
        assert report.loss == pytest.approx(reports[0].loss, rel=1e-5)
        assert report.norm == pytest.approx(reports[0].norm, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_the_same_but_for_its_rounding(kind: str, tmp_path: Path) -> None:
    checkpointing = {"run__checkpointing": True} if kind == "joint" else {}
    given = [config(None, tmp_path, kind), config(None, tmp_path, kind, run__dtype="bfloat16", **checkpointing)]
    steps = [stepper(each) for each in given]
    exact, rounded = (step([ONE], 0) for step in steps)
    assert rounded.loss == pytest.approx(exact.loss, rel=0.02) and rounded.loss != exact.loss
    assert all(value.dtype == torch.float32 for value in steps[1].learner.parameters())


def test_a_step_without_a_design_changes_nothing(tmp_path: Path) -> None:
    step = stepper(config(None, tmp_path))
    before = weights(step.learner)
    report = step([micro_batch([])], 0)
    assert (report.loss, report.designs) == (0, 0) and not moved(before, weights(step.learner))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite_stops_before_the_update_and_names_the_designs(kind: str, tmp_path: Path) -> None:
    step = stepper(config(None, tmp_path, kind))
    before = weights(step.learner)
    errors = step.learner.errors

    def spoilt(layers: Layers) -> Iterator[tuple[list[int], Tensor]]:
        owners = layers.regions.design.tolist()
        for rows, parts in errors(layers):
            yield rows, parts * torch.tensor([float("nan") if owners[row] == 1 else 1.0 for row in rows])[:, None]

    step.learner.errors = spoilt  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match=f"for designs {BATCH.keys[1]}; the weights are as they were"):
        step([BATCH], 0)
    assert not moved(before, weights(step.learner))


def test_the_statistics_of_latents_are_measured_and_stored_and_another_run_is_refused(
    dataset: Store, tmp_path: Path
) -> None:
    assert train_codec(config(dataset, tmp_path, run__steps=1, statistics=8))
    codec = RgbaCodec.load(tmp_path / "codec")
    given = config(dataset, tmp_path)
    settings = given.data.stream_settings(4, seed=given.run.seed)
    some = FirstDesigns(settings, 8, WORLD)
    pictures = [pixels for batch in some.read() for pixels in Layers.of(batch, 4, CPU).pictures]
    tokens_z = codec.encode(pictures).view(-1, 4, 4).transpose(0, 1).flatten(1)
    torch.testing.assert_close(tokens_z.mean(dim=1), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(tokens_z.std(dim=1), torch.ones(4), atol=1e-2, rtol=0)
    mean, std = latent_statistics(codec, some, WORLD)
    assert mean == pytest.approx(codec.vae.config["latents_mean"], abs=1e-5)
    assert std == pytest.approx(codec.vae.config["latents_std"], rel=1e-4)

    with pytest.raises(UsageError, match=r"losses\.kl"):
        train_codec(config(dataset, tmp_path, run__steps=2, statistics=8, losses__kl=1.0))


class Mean(nn.Module):
    """A network as LPIPS is one: [B, 1, 1, 1]."""

    def forward(self, made: Tensor, true: Tensor) -> Tensor:
        return (made - true).square().mean(dim=(1, 2, 3), keepdim=True)


@pytest.mark.parametrize("network", ["laplacian", "encoder", f"{__name__}:Mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_part_is_0_for_the_truth_and_over_0_for_another(network: str, kind: str, tmp_path: Path) -> None:
    codec = open_codec(config(None, tmp_path, kind).codec, 0, CPU)
    losses = Losses(LossConfig(network=network), codec, CPU)
    layers = Layers.of(BATCH, 4, CPU)
    true, ground = layers.truth([0]), layers.grounds([0])
    assert bool((losses(true, true, ground) == 0).all())
    other = (true * 0.9).requires_grad_()
    parts = losses(other, true, ground)
    assert parts.shape == (1, len(PARTS) - 1) and bool((parts > 0).all())
    for column in range(parts.shape[1]):
        (gradient,) = torch.autograd.grad(parts[0, column], other, retain_graph=True)
        assert bool(gradient.isfinite().all()) and bool(gradient.any())


def test_colour_counts_by_what_is_seen_of_it() -> None:
    true = torch.zeros(1, 4, 4, 4)
    true[:, 3] = -1
    made = true.clone()
    made[:, :3] = 1
    losses = Losses(LossConfig(perceptual=0), None, CPU)  # type: ignore[arg-type]  # no network looks at it
    assert losses(made, true, torch.zeros(1, 3)).tolist() == [[0, 0, 0, 0]]
    assert torch.equal(over(true, torch.tensor([[1.0, 0, -1]]))[0, :, 0, 0], torch.tensor([1.0, 0, -1]))


def test_a_pyramid_sees_edges_more_than_a_tone() -> None:
    flat = torch.zeros(1, 3, 12, 20)
    edge = flat.clone()
    edge[..., ::2] = 1
    assert laplacian(edge - 0.5, flat) > 10 * laplacian(flat + 0.5, flat)
    assert laplacian(edge[..., :2, :2], flat[..., :2, :2]).shape == (1,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codec.vae": {}}, "give either path"),
        ({"codec.path": "x"}, "give either path"),
        ({"codec.decoder": DECODER}, "decoder has the settings"),
        ({"codec.kind": "gray", "statistics": 3}, "is frozen"),
        ({"data.tasks": {"text-to-layers": 1}}, "data.tasks"),
        ({"run.checkpointing": True}, "codec.batch_px"),
        ({"losses.lpips": 1}, "losses."),
        ({"codec.vae": {**VAE, "base_dims": 8}}, "base_dims"),
        ({"codec.vae": {**VAE, "z_dim": -1}}, "z_dim"),
        ({"codec.vae": {}, "codec.path": "/nowhere"}, "no VAE"),
        ({"codec.kind": "joint", "codec.decoder": {"layers": 3}}, "codec.decoder"),
        ({"losses.network": "nothing.at:all"}, "no network"),
        ({"losses.network": "math:pi"}, "gave a float"),
        ({"validation.split": "none", "watch.validate_every": 1}, "none"),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(
    changes: dict[str, Any], message: str, dataset: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = config(dataset, tmp_path / "run", run__steps=1).model_dump(mode="json", exclude_unset=True)
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(given), encoding="utf-8")
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    assert main([str(path), *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("acetate: ") and message in said


@pytest.mark.parametrize("example", ["rgba", "joint"])
def test_examples_are_configurations(example: str) -> None:
    path = Path(__file__).resolve().parents[2] / "infra" / "examples" / f"train-codec-{example}.yaml"
    assert load_config(path, {}).codec.kind == example


def test_learners_are_of_codecs_with_weights(tmp_path: Path) -> None:
    assert isinstance(learner(config(None, tmp_path)), VaeLearner)
