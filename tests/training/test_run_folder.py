"""The folder of a run: what it holds, whom it refuses, and what reaches an object store."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml

from training import run_folder
from training.errors import TrainingError, UsageError
from training.masking import masked
from training.run_folder import CONFIG, ENVIRONMENT, LOG, RunFolder, first_difference

CONFIG_TREE: dict[str, Any] = {
    "run": {"out": "x", "steps": 10, "seed": 1, "device": "cpu", "storage_options": {"key": "me", "secret": "s3cret"}},
    "data": {"dataset": "d", "workers": 2, "tasks": {"restyle": 1.0}, "storage_options": {"token": "t0ken"}},
    "model": {"preset": "tiny", "weights": None},
    "watch": {"log_every": 5},
    "stages": [{"name": "one", "steps": 5}],
}
Where = tuple[str, dict[str, Any]]


def text(**changes: Any) -> str:
    """The configuration with dotted keys changed, ``__`` for a dot."""
    tree = json.loads(json.dumps(CONFIG_TREE))
    for key, value in changes.items():
        section, name = key.split("__")
        tree[section][name] = value
    return yaml.safe_dump(tree)


def say(url: str, options: dict[str, Any], line: str, *, resume: bool, config: str | None = None) -> None:
    folder = RunFolder(url, options)
    try:
        folder.open(config or text(), {"dataset": {"url": "d", "fingerprint": "f00"}}, resume=resume)
        logging.getLogger("training.something").info("%s", line)
    finally:
        folder.close()


def read(url: str, options: dict[str, Any], name: str) -> str:
    with fsspec.open(f"{url}/{name}", "rb", **options) as file:
        return bytes(file.read()).decode()


def test_every_store_ends_with_config_environment_and_the_log_of_all_starts(store_url: Where) -> None:
    url, options = store_url
    say(url, options, "first words", resume=False)
    say(url, options, "words after a checkpoint", resume=True)
    log = read(url, options, LOG)
    assert log.index("first words") < log.index("words after a checkpoint") and log.count("first words") == 1
    assert yaml.safe_load(read(url, options, CONFIG))["data"]["tasks"] == {"restyle": 1.0}
    found = json.loads(read(url, options, ENVIRONMENT))
    assert found["dataset"] == {"url": "d", "fingerprint": "f00"}
    assert {"python", "packages", "platform", "cpus", "gpus", "commit"} <= found.keys()
    assert {"torch", "diffusers", "acetate"} <= found["packages"].keys()


def test_a_run_that_saved_nothing_leaves_no_log_to_its_successor(store_url: Where) -> None:
    url, options = store_url
    say(url, options, "of the one that died", resume=False)
    say(url, options, "of the next", resume=False, config=text(run__seed=7))
    assert "died" not in read(url, options, LOG) and "of the next" in read(url, options, LOG)
    assert yaml.safe_load(read(url, options, CONFIG))["run"]["seed"] == 7


def test_what_grows_is_uploaded_once_it_has_changed_and_the_temporary_folder_goes() -> None:
    url = "memory://uploads"
    folder = RunFolder(url)
    folder.open(text(), {}, resume=False)
    grown = folder.growing("tensorboard/events", resume=False)
    grown.write_text("one")
    folder.upload()
    store = fsspec.filesystem("memory")
    made = store.modified("/uploads/tensorboard/events")
    folder.upload()
    assert store.modified("/uploads/tensorboard/events") == made
    grown.write_text("one two")
    local = folder.local
    folder.close()
    assert read(url, {}, "tensorboard/events") == "one two" and not local.exists()


def test_the_temporary_folder_goes_though_the_store_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder("memory://refuses")
    folder.open(text(), {}, resume=False)
    local = folder.local

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(type(folder.output._fs), "pipe_file", refuse)
    with pytest.raises(Exception, match=r"cannot write memory://refuses/log\.txt: no"):
        folder.close()
    assert not local.exists()
    folder.close()


def test_no_secret_is_written(tmp_path: Path) -> None:
    say(str(tmp_path / "run"), {}, "hello", resume=False)
    said = (tmp_path / "run" / CONFIG).read_text()
    assert "s3cret" not in said and "t0ken" not in said
    assert yaml.safe_load(said)["run"]["storage_options"] == {"key": "***", "secret": "***"}


def test_no_password_of_a_url_is_written(tmp_path: Path) -> None:
    url = "http://me:s3cret@host/data?t0ken"
    folder = RunFolder(str(tmp_path))
    folder.open(text(data__dataset=url), {"datasets": [{"url": url}]}, resume=False)
    folder.close()
    written = (tmp_path / CONFIG).read_text() + (tmp_path / ENVIRONMENT).read_text()
    assert "s3cret" not in written and "t0ken" not in written and "http://***@host/data?***" in written


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for url in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError, match=r"/file is a file: set run\.out to a folder"):
            RunFolder(str(url))


def test_keys_that_an_older_configuration_lacks_are_filled(tmp_path: Path) -> None:
    say(str(tmp_path), {}, "one", resume=False)
    folder = RunFolder(str(tmp_path))
    more = text(run__dtype="float32")
    folder.open(more, {}, resume=True, filled=lambda tree: tree | {"run": tree["run"] | {"dtype": "float32"}})
    folder.close()
    assert yaml.safe_load((tmp_path / CONFIG).read_text())["run"]["dtype"] == "float32"


@pytest.mark.parametrize(
    "changes",
    [
        {"run__steps": 20},
        {"run__device": "cuda"},
        {"run__out": "y"},
        {"data__workers": 0},
        {"data__dataset": "e"},
        {"data__on_error": "skip"},
        {"model__weights": "moved"},
        {"watch__log_every": 1},
        {"run__storage_options": {}},
        {"data__storage_options": {"token": "another"}},
    ],
)
def test_what_decides_no_step_may_change(tmp_path: Path, changes: dict[str, Any]) -> None:
    say(str(tmp_path), {}, "one", resume=False)
    say(str(tmp_path), {}, "two", resume=True, config=text(**changes))
    assert yaml.safe_load((tmp_path / CONFIG).read_text()) == masked(yaml.safe_load(text(**changes)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run__seed": 2}, "run.seed = 1, not 2"),
        ({"model__preset": "small", "run__steps": 3}, 'model.preset = "tiny", not "small"'),
        ({"data__tasks": {}}, "data.tasks = nothing, not {}"),
        ({"data__tasks": {"restyle": 1.0, "add-layer": 2.0}}, "data.tasks.add-layer = nothing, not 2.0"),
    ],
)
def test_another_config_is_refused_with_its_first_difference(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    say(str(tmp_path), {}, "one", resume=False)
    before = (tmp_path / CONFIG).read_bytes()
    with pytest.raises(UsageError) as error:
        say(str(tmp_path), {}, "two", resume=True, config=text(**changes))
    assert said in str(error.value) and "run.out" in str(error.value) and "\n" not in str(error.value)
    assert (tmp_path / CONFIG).read_bytes() == before and "two" not in (tmp_path / LOG).read_text()


def stages(*steps: int, **more: Any) -> dict[str, Any]:
    return {"stages": [{"name": f"of {number}", "steps": each, **more} for number, each in enumerate(steps)]}


def test_stages_that_are_not_over_may_have_other_steps_and_others_may_follow() -> None:
    assert first_difference(stages(5, 5), stages(5, 7), step=6) is None
    assert first_difference(stages(5, 5), stages(6, 5), step=5) is None
    assert first_difference(stages(5, 5), stages(5, 5, 9), step=10) is None
    assert first_difference(stages(5, 5), stages(6, 5), step=6) == ("stages.0.steps", "5", "6")
    assert first_difference(stages(5, 5), stages(5), step=6) == ("stages.1.name", '"of 1"', "nothing")
    assert first_difference(stages(5), stages(5, data={"resolution": 32}), step=1) == (
        "stages.0.data.resolution",
        "nothing",
        "32",
    )
    assert first_difference({"stages": []}, stages(5), step=1) == ("stages.0.name", "nothing", '"of 0"')


def test_a_lost_key_is_a_difference_too() -> None:
    assert first_difference({"model": {"preset": "tiny"}}, {"run": {"steps": 1}}) == (
        "model.preset",
        '"tiny"',
        "nothing",
    )
    assert first_difference(CONFIG_TREE, json.loads(json.dumps(CONFIG_TREE))) is None


@pytest.mark.parametrize("damaged", ["a: [", ""])
def test_a_damaged_config_is_one_line(tmp_path: Path, damaged: str) -> None:
    say(str(tmp_path), {}, "one", resume=False)
    (tmp_path / CONFIG).write_text(damaged)
    with pytest.raises(UsageError, match=r"config\.yaml is damaged; set run\.out"):
        say(str(tmp_path), {}, "two", resume=True)


def test_a_protocol_that_is_none_is_a_users_mistake() -> None:
    with pytest.raises(UsageError):
        RunFolder("nothing-like-it://bucket/run")


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_on_a_full_disk_is_one_line_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(str(tmp_path))
    folder.open(text(), {}, resume=False)
    with monkeypatch.context() as patch:
        patch.setattr("logging.FileHandler.flush", full)
        logging.getLogger("training.something").info("lost")
    logging.getLogger("training.something").info("%d of a caller's own", 1)
    for end in (folder.upload, folder.close):
        with pytest.raises(TrainingError, match=rf"^cannot write {tmp_path}/log\.txt: No space left on device$"):
            end()
    folder.close()
    assert capsys.readouterr().err == "" and "a caller's own" in (tmp_path / LOG).read_text()


def test_logging_is_afterwards_as_it_was(tmp_path: Path) -> None:
    root, ours = logging.getLogger(), logging.getLogger("training")
    before = list(root.handlers), ours.level
    say(str(tmp_path), {}, "one", resume=False)
    assert (list(root.handlers), ours.level) == before


def test_the_commit_is_that_of_the_source_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commit = run_folder.environment()["commit"]
    assert commit is None or len(commit.removesuffix("-dirty")) == 40
    monkeypatch.setattr(run_folder, "_ROOT", tmp_path)
    assert run_folder.environment()["commit"] is None
