"""Costs on paper are the costs that torch counts, and layouts are those that the papers have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch

from infra.bench.regions_measure import flops, kept_bytes
from infra.bench.regions_work import Work, backbone
from model import cost, layouts, presets
from model.cost import Architecture
from model.layouts import Layout
from model.placement import Grid
from model.presets import PRESETS
from model.tasks import Task
from tests.model.test_layouts import record

QWEN = Architecture.of(presets.config("qwen-20b"))


def tiny(designs: int, dtype: torch.dtype = torch.float32, **overrides: Any) -> tuple[Work, Architecture]:
    """So many designs packed, with clean tokens and texts of different lengths, and what costs depend on."""
    model = backbone("tiny", torch.device("cpu"), dtype, num_layers=2, **overrides)
    drawn = [layouts.draw(3 + 2 * number, 10, number) for number in range(designs)]
    regions = [layout.regions(Task.IMAGE_TO_LAYERS) for layout in drawn]
    work = Work.of(model, regions, drawn, [9 + 4 * number for number in range(designs)])
    return work, Architecture.of(model.config)


VARIANTS: list[dict[str, Any]] = [
    {},
    {"zero_cond_t": False, "layer_slots": 52},
    {"channel_std": [0.7] * 64, "joint_attention_dim": 24},
]


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_counted_exactly(name: str) -> None:
    for more in ({}, {"layer_slots": 52, "use_additional_t_cond": True, "num_layers": 3}):
        with torch.device("meta"):
            model = presets.transformer(name, **more)
        a = Architecture.of(presets.config(name, **more))
        assert cost.parameters(a) == sum(parameter.numel() for parameter in model.parameters())
        assert a == Architecture.of(model.config)


@pytest.mark.parametrize("designs", [1, 3])
@pytest.mark.parametrize("more", VARIANTS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_flops_are_those_that_torch_counts(designs: int, more: dict[str, Any], checkpointing: bool) -> None:
    work, a = tiny(designs, **more)
    if checkpointing:
        work.model.enable_gradient_checkpointing()
    out: list[torch.Tensor] = []
    assert flops(lambda: out.append(work.velocity())) == cost.forward(a, work.lengths)
    assert flops(out[0].square().mean().backward) == cost.backward(a, work.lengths, checkpointing)


@pytest.mark.parametrize("designs", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("more", VARIANTS)
def test_activations_are_what_autograd_keeps(designs: int, dtype: torch.dtype, more: dict[str, Any]) -> None:
    work, a = tiny(designs, dtype, **more)
    kept = kept_bytes(work.velocity, work.model.parameters())
    assert cost.activations(a, work.lengths, dtype.itemsize) == pytest.approx(kept, rel=0.01)


def test_checkpointing_keeps_inputs_and_makes_one_block_again() -> None:
    work, a = tiny(2)
    whole = kept_bytes(work.velocity, work.model.parameters())
    work.model.enable_gradient_checkpointing()
    held = kept_bytes(work.velocity, work.model.parameters())
    assert 4 * held < whole
    around = cost.activations(replace(a, blocks=0), work.lengths, 4)
    inputs = sum(map(sum, work.lengths)) * a.width * 4
    most = held + (whole - around) / a.blocks - inputs
    assert cost.activations(a, work.lengths, 4, checkpointing=True) == pytest.approx(most, rel=0.01)


def test_a_forward_pass_of_the_largest_is_the_formula_of_the_papers() -> None:
    n = 14_456
    known = 60 * (24 * 3072**2 * n + 4 * 3072 * n**2)
    assert cost.forward(QWEN, [(256, n - 256)]) == pytest.approx(known, rel=2e-3)


@pytest.mark.parametrize(
    ("layers", "regions", "full", "ratio"),
    [(4, 9.4e3, 24.6e3, 4.0), (11, 11.5e3, 53.2e3, 10.8), (20, 14.2e3, 90.1e3, 20.6)],
)
def test_drawn_layouts_have_the_tokens_and_the_savings_of_the_papers(
    layers: int, regions: float, full: float, ratio: float
) -> None:
    drawn = [layouts.draw(layers, 64, seed) for seed in range(300)]
    found = mean(sum(region.tokens for region in one.regions(Task.IMAGE_TO_LAYERS)) for one in drawn)
    other = sum(region.tokens for region in drawn[0].full_canvas())
    assert found == pytest.approx(regions, rel=0.03) and other == pytest.approx(full, rel=0.01)
    times = cost.forward(QWEN, [(256, other)]) / cost.forward(QWEN, [(256, round(found))])
    assert times == pytest.approx(ratio, rel=0.04)


def cells(out: str, name: str) -> list[str]:
    return next(line for line in out.splitlines() if line.startswith(name)).removeprefix(name).split()


def test_the_command_prints_a_drawn_design(capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main(["qwen-20b", "--layers", "20", "--steps", "50", "--guidance"]) == 0
    out = capsys.readouterr().out
    assert "20,430,404,160 parameters, 40.86 GB in bfloat16" in out
    assert cells(out, "tokens: composed") == ["4,096", "4,096", "1.00"]
    assert cells(out, "tokens: background") == ["4,096", "0"]
    assert cells(out, "tokens: foregrounds")[1] == "81,920"
    assert cells(out, "tokens: conditions") == ["0", "4,096"]
    layout = layouts.draw(20, 64, 0)
    image = sum(region.tokens for region in layout.regions(Task.IMAGE_TO_LAYERS))
    assert cells(out, "tokens: image")[:2] == [f"{image:,}", "90,112"]
    flops = 50 * (cost.forward(QWEN, [(256, image)]) + cost.forward(QWEN, [(cost.EMPTY_PROMPT, image)]))
    assert cells(out, "FLOPs: a picture, 50 steps with guidance")[:2] == [f"{flops / 1e15:.2f}", "P"]
    kept = cost.activations(QWEN, [(256, image)], 2)
    assert cells(out, "activation bytes, bfloat16")[:2] == [f"{kept / 1e9:.2f}", "G"]


def test_the_command_packs_records_and_counts_references(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = [[0, 0, 900, 700], [50, 33, 250, 133], [450, 233, 850, 600]]
    for name, more in (("a.json", boxes), ("b.json", boxes[:2])):
        (tmp_path / name).write_text(json.dumps(record(*more)))
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    assert cost.main(["tiny", "--boxes", *files, "--task", "restyle", "--chosen", "2", "--text", "20"]) == 0
    out = capsys.readouterr().out
    assert "designs: 2 from records, foregrounds: 2, 1;" in out and cells(out, "tokens: text")[0] == "40"
    found = layouts.of_record(record(*boxes), Grid(1024, 8))
    reference = 2 * layout_tokens(found, 1)
    assert cells(out, "tokens: conditions")[0] == f"{reference:,}"


def layout_tokens(layout: Layout, number: int) -> int:
    x0, y0, x1, y1 = layout.boxes[number]
    return (x1 - x0) * (y1 - y0)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["tinny"], "choose from tiny, small, qwen-20b"),
        (["tiny", "--layers", "0"], "'0' is not a whole number"),
        (["tiny", "--layers", "1" * 5000], "is not a whole number from 1 to 99999"),
        (["tiny", "--task", "draw"], "choose from text-to-layers"),
        (["tiny", "--task", "restyle"], "restyle: no layer is chosen; choose one or more, layers are 1 to 12"),
        (["tiny", "--task", "restyle", "--chosen", "13"], "there is no layer 13; layers are 1 to 12"),
        (["tiny", "--chosen", "2"], "chooses no layers"),
        (["tiny", "--resolution", "7"], "raise --resolution"),
        (["tiny", "--resolution", "7", "--boxes", "other.json"], "raise --resolution"),
        (["tiny", "--boxes", "there-is-none.json"], "No such file"),
        (["tiny", "--boxes", "deep.json"], "deep.json is not JSON"),
        (["tiny", "--boxes", "other.json"], "other.json: not the record of a design"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        cost.main(arguments)
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == ""
    assert why in said.err and said.err.count("\n") == 1 and said.err.startswith("python -m model.cost: ")


def test_a_record_of_too_many_bytes_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cost, "MAX_RECORD", 10)
    (tmp_path / "large.json").write_text(json.dumps(record([0, 0, 9, 9])))
    with pytest.raises(SystemExit):
        cost.main(["tiny", "--boxes", str(tmp_path / "large.json")])
    assert "over 10 bytes" in capsys.readouterr().err
