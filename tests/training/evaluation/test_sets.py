"""Which designs are judged, and what is known of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from model.tasks import Task
from schemas.geometry import Box
from schemas.withdrawal import REVOKED_PARQUET, REVOKED_SCHEMA
from tests.training.evaluation import bench
from training.errors import UsageError
from training.evaluation.sets import Chosen, Which, choose, read
from training.evaluation.stack import composite, exact_box


def both(url: str, designs: int = 100, **changes: object) -> tuple[Chosen, Chosen]:
    inside, overflow = choose(bench.opened(url), bench.plan(**changes), designs)
    assert (inside.which, overflow.which) == (Which.INSIDE, Which.OVERFLOW)
    return inside, overflow


def keys(url: str, chosen: Chosen) -> list[str]:
    return [one.key for one in bench.opened(url).locate([draw.row for draw in chosen.draws])]


def test_the_split_is_cut_by_overflow(benchmark_url: str) -> None:
    inside, overflow = both(benchmark_url)
    assert (len(inside.draws), len(overflow.draws)) == (3, 4)
    assert (inside.there, overflow.there, overflow.wanted) == (3, 4, 100)
    for which in Which:
        for case in bench.cases_of(bench.groups(benchmark_url, which)):
            x0, y0, x1, y1 = case.truth.shown
            around = Box(x0 - 1, y0 - 1, x1 + 1, y1 + 1)  # resampling spreads a pixel
            out = any(not around.contains(exact_box(layer)) for layer in case.truth.layers)
            assert out is (which is Which.OVERFLOW)


def test_sets_are_the_same_at_every_resolution_and_nested_in_larger_ones(benchmark_url: str) -> None:
    _, four = both(benchmark_url)
    _, two = both(benchmark_url, 2)
    _, other = both(benchmark_url, resolution=48, token_px=8)
    assert keys(benchmark_url, two) == keys(benchmark_url, four)[:2]
    assert keys(benchmark_url, other) == keys(benchmark_url, four)
    assert keys(benchmark_url, four) != sorted(keys(benchmark_url, four))


def test_withdrawn_designs_make_room_for_others(benchmark_url: str, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(benchmark_url, root)
    _, chosen = both(str(root), 2)
    first, second = keys(str(root), chosen)
    rows = [{"design_id": first, "reason": "asked", "revoked": "2026-01-01"}]
    (root / REVOKED_PARQUET).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=REVOKED_SCHEMA), root / REVOKED_PARQUET)
    _, after = both(str(root), 2)
    assert first not in keys(str(root), after) and keys(str(root), after)[0] == second
    assert len(after.draws) == 2


def test_micro_batches_keep_to_the_budget(benchmark_url: str) -> None:
    index, plan = bench.opened(benchmark_url), bench.plan(token_budget=120)
    _, chosen = choose(index, plan, 100)
    found = read(index, chosen, plan)
    assert len(found) > 1
    assert all(group.batch.tokens <= 120 or len(group.cases) == 1 for group in found)
    assert [case.key for case in bench.cases_of(found)] == keys(benchmark_url, chosen)


def test_a_split_without_the_task_names_the_remedy(benchmark_url: str) -> None:
    with pytest.raises(UsageError, match=r"'validation'.*has no sample for image-to-layers.*another split"):
        both(benchmark_url, split="validation")


def test_the_truth_composes_to_what_is_given(benchmark_url: str) -> None:
    for case in bench.cases_of(bench.groups(benchmark_url)):
        box, given = case.composed
        shown = case.truth.shown
        whole = composite(case.truth, 255)[shown.slices]
        difference = (whole.int() - given[shown.within(box).slices].int()).abs()
        assert difference.float().mean() < 2 and given[..., 3].eq(255).all()
        assert case.targets == tuple(range(len(case.truth.layers)))


@pytest.mark.parametrize("task", [Task.ADD_LAYER, Task.RESTYLE])
def test_only_the_chosen_layers_are_targets(benchmark_url: str, task: Task) -> None:
    for case in bench.cases_of(bench.groups(benchmark_url, task=task)):
        assert 0 < len(case.targets) < len(case.truth.layers) and 0 not in case.targets
        given = [layer for place, layer in enumerate(case.truth.layers) if place not in case.targets]
        box, composed = case.composed
        assert box == Box(0, 0, *case.truth.canvas)
        background, pixels = given[0]
        covered = torch.zeros(composed.shape[:2], dtype=torch.bool)
        for above, _ in given[1:]:
            covered[above.slices] = True
        alone = ~covered[background.slices]
        assert torch.equal(composed[background.slices][alone], pixels[alone])
