"""The folder of a run, on any fsspec URL: what was asked for, on what it ran, and what came of it.

    config.yaml        the resolved configuration, secrets masked
    environment.json   versions, hardware, commit and dataset of the last start
    log.txt            everything that was logged, over all starts
    metrics.jsonl      scalars, one JSON a line
    run.lock           who trains in it, as long as somebody does
    tensorboard/  samples/  checkpoints/  model/

What grows (log, metrics, TensorBoard) is written to a local folder: the run's own where that is local, else a temporary
one that ``upload`` copies to the store.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import yaml

from training.errors import UsageError
from training.masking import masked
from training.outputs import Output, writing
from training.run_lock import RunLock
from training.streaming.source import MissingError

CONFIG, ENVIRONMENT, LOG, METRICS = "config.yaml", "environment.json", "log.txt", "metrics.jsonl"
TENSORBOARD, SAMPLES = "tensorboard", "samples"

MAY_CHANGE = re.compile(
    r"run\.(out|steps|device|hang|export_dtype)|(stages\.\d+\.)?data\.((workers|threads|plan_dir|on_error|dataset)|read\..*)"
    r"|model\.(weights|text|codec\.path)|(.*\.)?storage_options(\..*)?|(watch|checkpoint)(\..*)?"
)
"""Dotted keys that a run may go on with changed: none of them decides what a step does.

Of those that say where something is, the dataset is compared by its fingerprint, and weights by their names and shapes.
"""

STAGE = re.compile(r"stages\.(\d+)\.(.*)")
"""A key of a stage: its number, and the key."""

LIMIT = 256 * 2**20
"""Bytes that are read back of a file of the run."""

PACKAGES = ("acetate", "torch", "diffusers", "transformers", "safetensors", "numpy", "pillow", "fsspec")
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_ROOT = Path(__file__).resolve().parent.parent
_OURS = ("training", "model", "schemas")


class RunFolder:
    """A run's folder, for its first rank alone. Names are relative, with ``/`` between their parts.

    Raises:
        UsageError: unknown protocol, or its package is not installed.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.output = Output(url, storage_options)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._uploaded: dict[str, tuple[int, int]] = {}
        self._handler: _LogFile | None = None
        self._lock = RunLock(self.output)
        self._levels: dict[str, int] = {}
        local = self.output.source.local
        if local is not None and (other := next((p for p in (local, *local.parents) if p.is_file()), None)):
            raise UsageError(f"{other} is a file: set run.out to a folder")
        if local is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="acetate-run-")
            local = Path(self._temporary.name)
        self.local = local
        """Where files that grow lie while the run goes on."""

    def claim(self) -> None:
        """Have the folder alone, before it is looked at, until it is closed.

        Raises:
            UsageError: another process trains in it.
            TrainingError: the store refuses.
        """
        self._lock.claim()

    def hold(self) -> None:
        """Make sure that the folder is still this process's own, before something in it is replaced.

        Raises:
            UsageError: another process has taken it over.
            TrainingError: the store refuses.
        """
        self._lock.hold()

    def open(
        self,
        config_text: str,
        facts: Mapping[str, Any],
        *,
        resume: bool,
        step: int = 0,
        filled: Callable[[Any], Any] = lambda known: known,
    ) -> None:
        """Write configuration and environment, and begin or go on with the log.

        ``facts``: of the data, for ``environment.json``. ``resume``: the run goes on from a checkpoint; otherwise what
        an earlier one that saved nothing left here is replaced. ``step``: of that checkpoint. ``filled``: gives the
        configuration that is here the keys that it lacks.

        Raises:
            UsageError: the run goes on, and its configuration was another in more than ``MAY_CHANGE``.
            TrainingError: the store refuses.
        """
        config = yaml.safe_load(config_text)
        before = self.read(CONFIG) if resume else None
        if before is not None:
            self._check_same(before, config, step, filled)
        self.output.write(CONFIG, yaml.safe_dump(masked(config), sort_keys=False, allow_unicode=True).encode())
        self.output.write(ENVIRONMENT, _json({**environment(), **masked(facts)}))
        self._log_to(self.growing(LOG, resume=resume))

    def read(self, name: str) -> bytes | None:
        """A file of the run, None where there is none."""
        try:
            return self.output.source.read(name, LIMIT)
        except MissingError:
            return None

    def growing(self, name: str, *, resume: bool) -> Path:
        """The local path of a file to append to; what the store has of it is there where the run goes on."""
        path = self.local / name
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not resume:
                path.unlink(missing_ok=True)
            elif self._temporary is not None and (data := self.read(name)) is not None:
                path.write_bytes(data)
        return path

    def upload(self) -> None:
        """Copy what has grown to the store; where the folder is local there is nothing to copy.

        Raises:
            TrainingError: the store refuses, or the log could not be written.
        """
        if self._handler is not None:
            self._handler.check()
        if self._temporary is None:
            return
        for path in sorted(self.local.rglob("*")):
            if path.is_file():
                found = path.stat()
                name, state = path.relative_to(self.local).as_posix(), (found.st_size, found.st_mtime_ns)
                if self._uploaded.get(name) != state:
                    self.output.write(name, path.read_bytes())
                    self._uploaded[name] = state

    def close(self) -> None:
        """End the log, copy what is left and leave the folder to others; the last also where that fails."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._lock.release)
            if self._temporary is not None:
                stack.callback(self._temporary.cleanup)
                stack.callback(self.upload)
            stack.callback(self._end_log)
        self._temporary = None

    def _end_log(self) -> None:
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        self._levels.clear()
        handler, self._handler = self._handler, None
        if handler is not None:
            logging.getLogger().removeHandler(handler)
            handler.close()
            handler.check()

    def _check_same(self, before: bytes, config: Any, step: int, filled: Callable[[Any], Any]) -> None:
        try:
            known = yaml.safe_load(before)
        except (yaml.YAMLError, ValueError):
            known = None
        if not isinstance(known, Mapping):
            raise UsageError(f"{self.output.source.url_of(CONFIG)} is damaged; set run.out to another folder")
        found = first_difference(masked(filled(known)), masked(config), step)
        if found is not None:
            key, was, now = found
            raise UsageError(
                f"{self.output.source.shown} holds a run with {key} = {was}, not {now}: set it back to go on with that "
                "run, or run.out to another folder"
            )

    def _log_to(self, path: Path) -> None:
        with writing(path):
            self._handler = _LogFile(path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter(_LINE))
        logging.getLogger().addHandler(self._handler)
        for name in _OURS:
            logger = logging.getLogger(name)
            self._levels[name] = logger.level
            logger.setLevel(logging.INFO)


class _LogFile(logging.FileHandler):
    """A log that keeps what its disk raised first for ``check``: who logs is not to fail, nor to fill the console."""

    def __init__(self, path: Path, encoding: str) -> None:
        super().__init__(path, encoding=encoding)
        self._failure: OSError | None = None

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if isinstance(error, OSError):
            self._failure = self._failure or error
        else:
            super().handleError(record)

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:  # what is left to be written does not fit either
            self._failure = self._failure or error

    def check(self) -> None:
        """Raises TrainingError: a line could not be written."""
        if self._failure is not None:
            with writing(self.baseFilename):
                raise self._failure


def first_difference(before: Any, after: Any, step: int = 0) -> tuple[str, str, str] | None:
    """The first dotted key, in the order of ``after``, that differs and may not change, with both values.

    What is not there is ``nothing``. Stages may be added to others, and all have other steps but those that were done
    before the last of ``step`` steps.
    """
    ends = list(accumulate(stage.get("steps", 0) for stage in before.get("stages") or []))
    old, new = dict(_flat(before)), dict(_flat(after))
    for key in [*new, *(key for key in old if key not in new)]:
        was, now = (_said(tree, key) for tree in (old, new))
        if was != now and not MAY_CHANGE.fullmatch(key) and not _of_a_stage_to_come(key, ends, step):
            return key, was, now
    return None


def _of_a_stage_to_come(key: str, ends: list[int], step: int) -> bool:
    """A key of a stage that is added, or the steps of one that is not over. ``ends``: the last step of each."""
    found = STAGE.fullmatch(key)
    if found is None or not ends:
        return False
    number = int(found[1])
    return number >= len(ends) or (found[2] == "steps" and ends[number] >= step)


def environment() -> dict[str, Any]:
    """Versions, hardware, and the commit of the source tree where it is one."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "python": platform.python_version(),
        "packages": versions,
        "cuda": torch.version.cuda if gpus else None,
        "gpus": gpus,
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)),
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit, with ``-dirty`` where files differ from it; None where this package is not in a tree of its own."""
    words = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    if not (_ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted key; what is empty is a value."""
    pairs = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    if not pairs:
        yield prefix, tree
    for name, value in pairs:
        yield from _flat(value, f"{prefix}.{name}" if prefix else str(name))


def _said(tree: Mapping[str, Any], key: str) -> str:
    return json.dumps(tree[key], default=str) if key in tree else "nothing"


def _json(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(tree, indent=2, ensure_ascii=False).encode() + b"\n"
