"""The configuration: one YAML file, dotted overrides, and errors that name the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import BuildConfig, load_config, parse_assignments
from pipelines.errors import UsageError
from schemas.settings import known_keys


def test_the_public_keys_are_there() -> None:
    public = {
        "run.unit_size",
        "extract.min_layers",
        "extract.max_layers",
        "extract.min_side",
        "extract.max_side",
        "extract.shadows",
        "dedup.enabled",
        "manifest.columns",
    }
    assert public <= set(known_keys(BuildConfig))


def test_overrides_lie_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("extract:\n  min_layers: 3\nrun: {unit_size: 8}\n")
    config = load_config(path, parse_assignments(["run.unit_size=16", "licence.allow=[MIT, ISC]"]))
    assert (config.extract.min_layers, config.run.unit_size, config.licence.allow) == (3, 16, ("MIT", "ISC"))
    assert load_config(None, {}) == BuildConfig()


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("extract.min_layer=3", "did you mean 'extract.min_layers'"),
        ("run.unitsize=3", "did you mean 'run.unit_size'"),
        ("min_side=3", "did you mean 'extract.min_side'"),
        ("run.unit_size=0", "run.unit_size"),
        ("run.splits={train: 0.5}", "add up to 0.5"),
        ("run.executor=spark", "run.executor"),
        ("extract=3", "extract"),
        ("extract.shadows=away", "'joined' or 'apart'"),
        ("run.unit_size.x=3", "run.unit_size"),
    ],
)
def test_mistakes_are_told_in_one_line(assignment: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(None, parse_assignments([assignment]))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["- a list", "a: [", "extract: 3"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UsageError):
        load_config(path, {})


def test_a_missing_file_and_a_bare_word_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no configuration file"):
        load_config(tmp_path / "none.yaml", {})
    with pytest.raises(UsageError, match="key=value"):
        parse_assignments(["run.unit_size"])
