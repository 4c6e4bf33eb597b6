"""The benchmarks measure what they say: features from the file, errors by our own measure, time by stage."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from infra.bench import one_design, recompose
from infra.bench.features import features_of
from infra.bench.fidelity import failures, feature_rows, is_design, totals
from infra.bench.hooks import Timers
from infra.bench.recompose import Error, Result
from pipelines.formats import read, write
from tests.pipelines.fuzz import seeds


@pytest.fixture
def styled(tmp_path: Path) -> Path:
    write(seeds.shown(seeds.styled()), tmp_path / "styled.psd")
    return tmp_path / "styled.psd"


def test_features_are_found_in_the_file_alone(styled: Path) -> None:
    found = features_of(styled, "psd", None)
    assert found >= {
        "drop shadow", "inner shadow", "outer glow", "inner glow", "colour overlay", "gradient overlay",
        "pattern overlay", "stroke effect", "satin", "bevel", "overlay", "effects", "effects on a group",
        "fill opacity", "isolated group", "group with opacity", "knockout",
        "channel restrictions", "blend-if", "blend: contrast",
    }  # fmt: skip
    assert "legacy effects" not in found and "none of these" not in found and "psb" not in found


def test_a_hidden_feature_does_not_count(tmp_path: Path) -> None:
    design = seeds.styled()
    hidden = tuple(node if node.name == "ground" else replace(node, visible=False) for node in design.nodes)
    write(seeds.shown(replace(design, nodes=hidden)), tmp_path / "hidden.psb")
    assert features_of(tmp_path / "hidden.psb", "psd", None) == {"psb", "none of these"}


def test_a_file_is_eligible_by_a_leaf_and_a_preview_that_is_not_flat(styled: Path, tmp_path: Path) -> None:
    assert recompose.describe_file(styled, "psd").eligible
    flat = seeds.shown(seeds.styled())
    assert flat.preview is not None
    write(replace(flat, preview=flat.preview * 0 + 255), tmp_path / "flat.psd")
    assert not recompose.describe_file(tmp_path / "flat.psd", "psd").eligible
    (tmp_path / "broken.psd").write_bytes(styled.read_bytes()[:300])
    broken = recompose.describe_file(tmp_path / "broken.psd", "psd")
    assert not broken.eligible and broken.problem


def test_errors_are_of_the_preview(tmp_path: Path) -> None:
    design = seeds.shown(seeds.deep())
    assert design.preview is not None
    write(design, tmp_path / "right.psd")
    wrong = design.preview.copy()
    wrong[..., 0] ^= 128
    write(replace(design, preview=wrong), tmp_path / "wrong.psd")
    right = recompose.measure_stack(tmp_path / "right.psd", "psd", None)
    assert right.error.true and right.message == ""
    off = recompose.measure_stack(tmp_path / "wrong.psd", "psd", tmp_path / "wrong.png")
    assert not off.error.true and "recompose_mismatch" in off.message and (tmp_path / "wrong.png").is_file()
    assert recompose.measure_peer_document(tmp_path / "wrong.psd", "psd").mae > 10


def test_rows_count_what_is_true_and_failures_say_why() -> None:
    good, bad = Error(0.2, 3.0), Error(0.2, 25.0)
    results = [
        Result("art/a.psd", "psd", True, frozenset({"mask"}), ours=good, document=good, foreground=4, reusable=4),
        Result("tests/b.psd", "psd", True, frozenset({"mask"}), ours=bad, document=good, message="because"),
        Result("c.ora", "ora", True, frozenset({"mask", "text"}), problems={"stack": "crashed: SIGSEGV"}),
    ]
    rows = {row[0]: row for row in feature_rows(results)}
    assert rows["mask"][1:5] == (3, 1, pytest.approx(1 / 3), "1.00")
    assert rows["text"][4] == "–"  # no PSD among them
    assert totals(results)[0][1:] == ("1 of 3 (0.333)", "0.93", "no")
    assert [(row[0], row[1]) for row in failures(results)] == [("c.ora", "–"), ("tests/b.psd", "0.20")]
    assert "SIGSEGV" in failures(results)[0][4] and "because" in failures(results)[1][4]


@pytest.mark.parametrize(
    ("path", "design"),
    [
        ("shop/art/icon.psd", True), ("icon.psd", True), ("contest/latest/a.psd", True),
        ("parser/tests/files/a.psd", False), ("p/spec/a.psd", False), ("x/testdata/a.psd", False),
        ("Olve.Test/a.ora", False), ("p/tests/integration/fixtures/a.psd", False),
    ],
)  # fmt: skip
def test_design_like_files_are_told_by_their_folders(path: str, design: bool) -> None:
    assert is_design(path) is design


def test_time_goes_to_the_stage_that_spends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    outer, inner = ModuleType("pipelines.outer_stage"), ModuleType("pipelines.inner_stage")
    exec("def spend(seconds, clock):\n    end = clock() + seconds\n    while clock() < end: pass", inner.__dict__)
    exec("def whole(clock):\n    spend(0.05, clock)\n    spend(0.03, clock)", outer.__dict__)
    outer.spend = inner.spend  # type: ignore[attr-defined]
    for module in (outer, inner):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    timers = Timers("rest")
    timers.hook({"pipelines.outer_stage": "outer", "pipelines.inner_stage": "inner"})
    timers.start()
    outer.whole(time.process_time)
    timers.stop()
    assert timers.seconds["inner"] == pytest.approx(0.08, abs=0.02)
    assert timers.seconds["outer"] < 0.01 and timers.seconds["rest"] < 0.01


def test_both_sides_of_the_speed_comparison_do_the_work(tmp_path: Path) -> None:
    path = tmp_path / "small.psd"
    one_design.small_design(path)
    assert one_design.plain_loop(path, ignore_preview=True) == 3
    timed = one_design.time_file(path, "psd", 1)
    assert timed.excluded == "" and 0 < timed.ours < 5 and 0 < timed.peer < 5
    (tmp_path / "broken.psd").write_bytes(path.read_bytes()[:99])
    assert one_design.time_file(tmp_path / "broken.psd", "psd", 1).excluded == "ours: unreadable"
    assert one_design.decoded_bytes(read(path, "psd", one_design.CONFIG.read)) == 2 * 64 * 64 * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fidelity", "extract"])
def test_a_benchmark_ends_with_a_report_over_any_folder(tmp_path: Path, styled: Path, name: str) -> None:
    (tmp_path / "broken.psd").write_bytes(styled.read_bytes()[:999])
    one_design.small_design(tmp_path / "small.psd")
    out = tmp_path / "out" / "report.md"
    command = [sys.executable, "-m", f"infra.bench.{name}", str(tmp_path), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = out.read_text(encoding="utf-8")
    assert ("| bevel | 1 |" if name == "fidelity" else "| ours: unreadable | 1 |") in report
    assert "| small.psd |" in report or name == "fidelity"
