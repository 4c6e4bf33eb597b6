"""The benchmark of regions measures what it says: FLOPs, bytes and memory that are known, the same designs twice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("diffusers")

import torch

from infra.bench import regions, regions_gpu, regions_parity
from infra.bench.regions_measure import flops, growth, kept_bytes, seconds
from infra.bench.regions_race import HEAD, Race, race, representative
from infra.bench.regions_work import TASK, backbone, both
from model import cost, layouts, presets
from model.cost import Architecture
from model.transformer import RegionTransformer

CPU = torch.device("cpu")
SIDE, TEXT = 6, 3


@pytest.fixture(scope="module")
def model() -> Iterator[RegionTransformer]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield backbone("tiny", CPU, torch.float32, num_layers=1)
    torch.set_num_threads(before)


def test_flops_of_products_and_attention_are_counted_in_both_directions() -> None:
    left, right = torch.randn(3, 5), torch.randn(5, 7)
    assert flops(lambda: left @ right) == 2 * 3 * 5 * 7
    heads, tokens, dim = 2, 11, 8
    query, key, value = (torch.randn(1, heads, tokens, dim, requires_grad=True) for _ in range(3))
    out = []
    once = flops(lambda: out.append(torch.nn.functional.scaled_dot_product_attention(query, key, value)))
    assert once == 4 * heads * tokens**2 * dim
    assert flops(out[0].sum().backward) == cost.FLASH_BACKWARD * once


def test_a_storage_that_is_kept_twice_counts_once_and_parameters_never() -> None:
    weight, x = torch.randn(8, 8, requires_grad=True), torch.randn(4, 8, requires_grad=True)
    assert kept_bytes(lambda: (x * x[:2].repeat(2, 1)) @ weight, [weight]) == 3 * 4 * 8 * 4
    assert kept_bytes(lambda: (x * x) @ weight, [weight]) == 2 * 4 * 8 * 4


def test_growth_is_the_most_that_was_there_at_once() -> None:
    def run() -> None:
        for _ in range(3):
            torch.ones(2**23)  # 32 MiB, gone at once

    assert growth(run) == pytest.approx(2**25, rel=0.2)


def test_cpu_time_leaves_out_what_waits() -> None:
    wall, cpu = seconds(lambda: time.sleep(0.05), CPU)
    assert wall >= 0.05 > 2 * cpu


def test_no_weight_of_the_backbone_is_zero_and_the_seed_is_its_own(model: RegionTransformer) -> None:
    assert all(parameter.abs().min() > 0 for parameter in model.parameters())
    again = backbone("tiny", CPU, torch.bfloat16, num_layers=1)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.to(torch.bfloat16), other)


def test_both_contestants_have_the_same_design(model: RegionTransformer) -> None:
    layout = layouts.draw(4, SIDE, 0)
    ours, full = both(model, layout, TEXT)
    assert ours.lengths == [(TEXT, sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (layout.visible, *layout.boxes)))]
    assert full.lengths == [(TEXT, (4 + 2) * SIDE**2)]
    assert full.regions.layer.tolist() == [0, 1, 2, 3, 4, -1]
    for work in (ours, full):
        assert work.infer().isfinite().all() and not work.infer().requires_grad
        work.train()
        assert all(parameter.grad is None for parameter in model.parameters())


def test_designs_of_the_race_stand_for_all() -> None:
    def tokens(layout: layouts.Layout) -> int:
        return sum(region.tokens for region in layout.regions(TASK))

    pool = [tokens(layouts.draw(11, 16, seed)) for seed in range(200)]
    chosen = [tokens(layout) for layout in representative(11, 16, 6)]
    assert chosen == sorted(chosen) and set(chosen) <= set(pool)
    assert sum(chosen) / 6 == pytest.approx(sum(pool) / 200, rel=0.03)


def test_a_race_counts_the_tokens_flops_and_times_of_both(model: RegionTransformer) -> None:
    one = race(model, layers=3, side=SIDE, text=TEXT, designs=2, repeats=1)
    a = Architecture.of(model.config)
    assert one.tokens[1] == 2 * 5 * SIDE**2 > one.tokens[0]
    assert one.flops[1] == 2 * cost.forward(a, [(TEXT, 5 * SIDE**2)])
    assert all(value > 0 for value in (*one.seconds, *one.cpu))
    known = Race(3, 2, (10, 40), (10**9, 8 * 10**9), (0.5, 2.0), (0.5, 1.5))
    assert known.row() == (3, "5", "20", "0.500", "2.000", 4.0, 3.0, 8.0, "2", "4")
    assert len(known.row()) == len(HEAD)
    assert regions_gpu.shares(known, 8e9) == ["25 %", "50 %"]


def test_parity_has_a_row_for_every_way_and_all_are_equal() -> None:
    measured = list(regions_parity.measure())
    assert len(measured) == len(regions_parity.CASES) + 3
    for one in measured:
        assert one.difference <= regions.PARITY_BAR < one.scale, one.what


def test_waste_is_nothing_for_one_design_and_grows_with_padding(model: RegionTransformer) -> None:
    drawn = [layouts.draw(number, SIDE, number) for number in (1, 12)]
    alone = regions.waste_of(model, drawn[:1], [TEXT])
    assert len({executed for _, executed in alone}) == 1
    useful, executed = alone[0]
    assert 0.95 < useful / executed < 1
    packed, masked, padded = (
        1 - useful / executed for useful, executed in regions.waste_of(model, drawn, [TEXT, TEXT])
    )
    assert packed < 0.05 < masked < padded


def test_attention_in_company_is_compared_with_padded(model: RegionTransformer) -> None:
    head, rows = regions_gpu.company(model, SIDE, 6)
    assert [row[0] for row in rows] == ["padded", "segments", "auto"] and len(rows[0]) == len(head)
    assert all(float(row[2]) < 1e-5 for row in rows)
    model.set_attention(regions.Backend.AUTO)


def test_as_many_blocks_as_memory_holds() -> None:
    billion = 10**9
    assert regions_gpu.fitting(0) == 1 and regions_gpu.fitting(1000 * billion) == 60
    assert regions_gpu.fitting(regions_gpu.RESERVE + 7 * billion) == 10  # 340 M parameters each
    assert regions_gpu.matrix_peak(CPU, torch.float32, 64) > 0


def test_there_are_no_tables_of_a_gpu_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert regions_gpu.sections(1) == []


def test_a_process_grows_more_for_full_canvases() -> None:
    assert 0 < regions.grown_alone(16, 12, 2, False) < regions.grown_alone(16, 12, 2, True)


@pytest.mark.gpu
def test_regions_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions_gpu, "fitting", lambda free: 1)
    speed, packed = regions_gpu.sections(1)
    assert [row[0] for row in speed[2]] == list(regions_gpu.LAYERS)
    assert all(float(row[2]) < 0.02 for row in packed[2])


@pytest.mark.slow
def test_the_benchmark_ends_with_a_report(tmp_path: Path) -> None:
    out = tmp_path / "regions.md"
    command = [sys.executable, "-m", "infra.bench.regions", "--resolution", "64", "--repeats", "1", "--designs", "1"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = out.read_text(encoding="utf-8")
    assert "| waste, packed |" in report and "| resident, 20 layers |" in report
    assert presets.preset("qwen-20b").token_px == 16 and "4 x 4 tokens of 16 px" in report
