"""The wheel, built and run from an empty directory, away from the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGES = ("schemas", "pipelines", "model", "training")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The wheel of the working tree, built from a copy so that nothing is left in it."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "acetate.py", *PACKAGES):
        (source / name).symlink_to(repository / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(work / "dist"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (work / "dist").glob("acetate-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds the unpacked wheel and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``acetate`` of the unpacked wheel; asserts that every package is imported from there."""
    code = (
        "import importlib, sys; from pathlib import Path\n"
        f"for name in {('acetate', *PACKAGES)!r}:\n"
        "    place = importlib.import_module(name).__file__\n"
        f"    assert Path(place).is_relative_to({str(installed)!r}), place\n"
        "import acetate; sys.argv[0] = 'acetate'; acetate.main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=240)


def test_the_wheel_holds_the_sources_and_their_data(wheel: Path, repository: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(repository).as_posix()
        for package in PACKAGES
        for path in (repository / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted - held == set()
    assert "schemas/design.schema.json" in held
    assert not [name for name in held if name.split("/")[0] in ("tests", "infra")]
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_the_command_runs_from_an_empty_directory(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    assert "build" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_synth_and_inspect_run_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    made = run(installed, tmp_path, "synth", "designs", "--count", "2", "--seed", "7", "--profile", "tiny")
    assert made.returncode == 0, made.stderr
    rows = (tmp_path / "designs" / "manifest.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("uri,licence,licensor")
    assert len(rows) == 3
    shown = run(installed, tmp_path, "inspect", str(tmp_path / "designs" / rows[1].split(",")[0]))
    assert shown.returncode == 0, shown.stderr
