"""Where the work on units happens: in this process, or on Ray. Only references to units move, and small reports come
back."""

from __future__ import annotations

import json
import logging
import os
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol

import pyarrow as pa

from pipelines.errors import StoreError, UsageError
from pipelines.scratch import own_directory
from pipelines.stages import Context, Job, Report, close_sandboxes, decode_job, encode_job, perform

_OBJECT_STORE_BYTES = 100 * 2**20
_RETRIES = 2
_CHATTY = ("ray.data", "ray._private.authentication.authentication_token_setup")
_REPORT = pa.schema([("report", pa.string())])


class Executor(Protocol):
    """Does jobs in any order and gives their reports as they end."""

    def run(self, context: Context, jobs: Sequence[Job]) -> Iterator[Report]: ...

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Inline:
    """One job after the other in this process: for debugging and for ``memory://``."""

    def run(self, context: Context, jobs: Sequence[Job]) -> Iterator[Report]:
        for job in jobs:
            yield perform(context, job)

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None:
        close_sandboxes()


class OnRay:
    """Ray Data over the jobs: joins the cluster of ``RAY_ADDRESS``, else starts a local Ray at the first job."""

    def __init__(self, workers: int | None) -> None:
        self._workers = workers
        self._started = False

    def run(self, context: Context, jobs: Sequence[Job]) -> Iterator[Report]:
        """Raises StoreError: Ray gave a job up (its worker died three times); the next run goes on."""
        if not jobs:
            return
        import ray.data
        import ray.exceptions

        self.start()
        items = [{"job": encode_job(job)} for job in jobs]
        with warnings.catch_warnings():
            # Ray Data retries for ever when a worker dies: this bounds it, and goes away in Ray 2.64.
            warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
            done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                _performer(context),
                batch_size=1,
                batch_format="pyarrow",
                num_cpus=1,
                compute=ray.data.TaskPoolStrategy(size=self._workers),
                max_retries=_RETRIES,
            )
        try:
            for row in done.iter_rows():
                yield Report(**json.loads(row["report"]))
        except ray.exceptions.RayError as error:
            raise StoreError(f"Ray gave up: {str(error).strip().splitlines()[0]}; run the build again") from error

    def __enter__(self) -> OnRay:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            import ray

            ray.shutdown()

    def start(self) -> None:
        """Join or start Ray, if that has not been done."""
        os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray
        import ray.data

        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        if not ray.is_initialized():
            local = not os.environ.get("RAY_ADDRESS")
            extra: dict[str, Any] = {}
            if local:
                extra = {"address": "local", "num_cpus": self._workers, "object_store_memory": _OBJECT_STORE_BYTES}
                extra["include_dashboard"] = False
            else:
                _reach(os.environ["RAY_ADDRESS"])
            try:
                ray.init(logging_level=logging.ERROR, log_to_driver=False, configure_logging=False, **extra)
            except (OSError, RuntimeError, ValueError) as error:
                detail = str(error).strip().splitlines()[0]
                raise UsageError(f"Ray did not start ({detail}); see RAY_ADDRESS and RAY_AUTH_MODE") from None
            self._started = True
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False


def _reach(address: str) -> None:
    """Raises UsageError where nothing answers at ``RAY_ADDRESS``: Ray itself waits for minutes."""
    host, colon, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise UsageError(f"no Ray cluster at RAY_ADDRESS={address} ({error}); start it or unset RAY_ADDRESS") from None


def _performer(context: Context) -> Callable[[pa.Table], pa.Table]:
    def performer(batch: pa.Table) -> pa.Table:
        tempfile.tempdir = str(own_directory(os.getpid()))  # Ray kills its workers: what they leave is swept from there
        reports = [perform(context, decode_job(data)) for data in batch["job"].to_pylist()]
        return pa.Table.from_pylist([{"report": json.dumps(vars(report))} for report in reports], _REPORT)

    return performer


def executor(name: str, workers: int | None) -> Executor:
    """The executor of ``run.executor``; ``workers`` defaults to the machine's cores on a local Ray."""
    return Inline() if name == "inline" else OnRay(workers)
