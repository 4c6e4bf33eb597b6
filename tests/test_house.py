"""The house in order: documents that tell the truth, pins that are complete, nothing of the machine it was made on."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BUILDS = sorted(
    path for path in (ROOT / "infra" / "examples").glob("*.yaml") if not path.name.startswith(("train-", "evaluate-"))
)

HOSTS = r"https?://(?:localhost|127\.0\.0\.1|(?:10|192\.168)\.[\d.]+)"
HOME = r"/(?:root|home/\w+|work/\w+|Users/\w+)/"
SKIP = {".venv", ".git", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "demo", "build"}


def tracked() -> list[Path]:
    """Every text file of the source tree, as git sees it where there is git."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        paths = [ROOT / line for line in listed.stdout.splitlines()]
    else:
        paths = [path for path in ROOT.rglob("*") if not SKIP & set(path.relative_to(ROOT).parts)]
    text = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".json", ".html", ".css", ".js", ""}
    return [path for path in paths if path.is_file() and path.suffix in text]


def requirements(lines: list[str]) -> list[Requirement]:
    return [Requirement(line) for line in lines]


def pins() -> dict[str, list[Requirement]]:
    """The pins of constraints.txt by package; one package may have several, under different markers."""
    out: dict[str, list[Requirement]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            pin = Requirement(line)
            out.setdefault(canonicalize_name(pin.name), []).append(pin)
    return out


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    project = PROJECT["project"]
    asked = requirements(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        asked += requirements(extra)
    pinned = pins()
    for wanted in asked:
        versions = [next(iter(pin.specifier)).version for pin in pinned.get(canonicalize_name(wanted.name), [])]
        assert versions, f"{wanted.name} is not in constraints.txt: run make constraints"
        for version in versions:
            assert wanted.specifier.contains(version), f"{wanted} does not accept the pin {version}"


def test_constraints_are_plain_pins() -> None:
    """Neither pip nor uv accepts extras or options there, and a local version resolves on no other machine."""
    for name, found in pins().items():
        for pin in found:
            assert not pin.extras, name
            assert not pin.url, name
            assert [specifier.operator for specifier in pin.specifier] == ["=="], name
            assert "+" not in str(pin.specifier), name


def test_every_package_is_listed_for_the_wheel() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    there = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for name in ("schemas", "pipelines", "model", "training")
        for path in (ROOT / name).rglob("*.py")
    }
    assert listed == there


def test_nothing_of_a_machine_is_in_the_sources() -> None:
    found = []
    for path in tracked():
        if path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        # A documented loopback address of a service is fine in tests and the S3 server alone.
        allowed = path.is_relative_to(ROOT / "tests") or path.is_relative_to(ROOT / "infra" / "s3")
        patterns = [HOME] if allowed else [HOME, HOSTS]
        found += [f"{path.relative_to(ROOT)}: {hit}" for pattern in patterns for hit in re.findall(pattern, text)]
        found += [f"{path.relative_to(ROOT)}: unfinished" for hit in re.findall(r"\b(?:TODO|FIXME|XXX)\b", text)]
    assert found == []


def commands() -> set[str]:
    """The commands of ``acetate``."""
    from acetate import mounted

    return set(get_command(mounted()).commands)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_name_only_commands_that_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    code = "\n".join(block or span for block, span in re.findall(r"```.*?\n(.*?)```|`([^`\n]+)`", text, re.DOTALL))
    named = set(re.findall(r"(?:^|[\s/])acetate ([a-z][a-z-]*)", code))
    assert named <= commands()
    if document == "README.md":
        assert {"synth", "demo", "build", "inspect", "validate", "report", "gc"} <= named


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_and_files_that_documents_name_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)`", text)) <= targets
    for name in re.findall(r"`((?:schemas|pipelines|infra|tests|model|training)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), f"{document} names {name}"
    for name in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (ROOT / name).exists(), f"{document} links to {name}"


@pytest.mark.parametrize("example", BUILDS, ids=lambda path: path.name)
def test_examples_are_configurations(example: Path) -> None:
    from pipelines.config import load_config

    load_config(example, {})


def test_the_keys_of_the_readme_exist() -> None:
    """Every YAML block of the README is a configuration, and every ``--set`` names a key."""
    from pipelines.config import BuildConfig
    from schemas.settings import known_keys
    from training.config import TrainConfig

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        (TrainConfig if "\ndata:" in block else BuildConfig).model_validate(yaml.safe_load(block))
    keys = set(known_keys(BuildConfig))
    assert set(re.findall(r"--set (\w+\.[\w.]+)=", text)) <= keys
    section = text.partition("### Configuration")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    table = [key for row in rows for key in re.findall(r"`([\w.]+)`", row)]
    assert set(table) <= keys
    assert len(table) > 10


def test_the_keys_of_training_in_the_readme_exist() -> None:
    from schemas.settings import known_keys
    from training.config import TrainConfig

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Train")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    table = {key for row in rows for key in re.findall(r"`([\w.]+)`", row)}
    assert table <= set(known_keys(TrainConfig))
    assert {key.partition(".")[0] for key in table} == set(TrainConfig.model_fields)


def test_the_settings_of_a_stream_in_the_readme_are_all_settings() -> None:
    from training.streaming.config import PlanConfig, ReadConfig, Task

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("### Settings of a stream")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert named == [*PlanConfig.model_fields, *(name for name in named if name in ReadConfig.model_fields)]
    assert set(named) == {*PlanConfig.model_fields, *ReadConfig.model_fields}
    assert {str(task) for task in Task} <= set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE))


def test_the_ledger_codes_of_the_readme_are_all_codes() -> None:
    from schemas.ledger import Code

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## The ledger")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z_]+)`", section)) >= {str(code) for code in Code}
