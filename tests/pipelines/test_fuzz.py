"""Files of every format, mutated: each ends in exactly one ledger code, within its time and memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.ledger import Code
from tests.pipelines.fuzz import seeds, target


def held(outcomes: target.Outcomes, count: int) -> None:
    assert outcomes.findings == []
    assert outcomes.total == count
    assert set(outcomes.codes) <= target.EXPECTED
    assert outcomes.codes[Code.UNREADABLE] > 0.1 * count, "the mutations break next to nothing"
    assert count - outcomes.codes[Code.UNREADABLE] > 0.1 * count, "the mutations leave next to nothing to read"


def test_mutations_end_in_one_code_each(tmp_path: Path) -> None:
    held(target.run(range(1_000), seeds.own(tmp_path), tmp_path), 1_000)


def test_mutations_of_real_files_end_in_one_code_each(tmp_path: Path, corpus: Path) -> None:
    held(target.run(range(200), seeds.real(corpus), tmp_path), 200)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_thousand_mutations_end_in_one_code_each(tmp_path: Path, corpus: Path) -> None:
    every = [*seeds.own(tmp_path), *seeds.real(corpus)]
    held(target.run(range(1_000_000, 1_020_000), every, tmp_path), 20_000)
