"""A child process with limits for one design at a time: a crash, a hang or a bomb costs that design alone.

Limits are CPU time and memory, so that a loaded machine gives the same outcome, with a generous wall limit against a
child that waits for ever. The child dies with its parent.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as WallTimeout
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pebble import ProcessExpired, ProcessPool
from pydantic import BaseModel, ConfigDict, Field

from pipelines.errors import PipelineError, Rejected, StoreError
from schemas.ledger import Code

T = TypeVar("T")

_PRELOAD = [
    "numpy",
    "PIL.Image",
    "PIL.WebPImagePlugin",
    "psd_tools",
    "pipelines.extract",
    "pipelines.caption",
    "pipelines.group",
]
_DESIGNS_A_CHILD = 64
_BROKEN = (RuntimeError, BrokenProcessPool)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Limits(BaseModel):
    """What one design may cost: CPU seconds, MiB of memory, and a generous wall limit against hangs without CPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu_seconds: Annotated[int, Field(gt=0)] = 120
    wall_seconds: Annotated[int, Field(gt=0)] = 600
    memory_mb: Annotated[int, Field(ge=256, le=2**24)] = 6144


class ChildError(Exception):
    """The function raised something that is no error of ours: its type and message."""


class Sandbox:
    """Runs functions in a child of its own, one at a time. Not for use from several threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        for name in _THREADS:
            os.environ.setdefault(name, "1")
        self._pool = self._start()

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a module-level function in the child; its errors of ours are raised here.

        Raises:
            Rejected: with TIMEOUT, CRASHED or OUT_OF_MEMORY where the child did not come to an end of its own.
            ChildError: the function raised something else.
            StoreError: no child can be started, which is no fault of a design.
        """
        try:
            returned, value = self._schedule(function, *arguments)
        except _BROKEN:
            self._restart()
            try:
                returned, value = self._schedule(function, *arguments)
            except _BROKEN as error:
                raise StoreError(f"no process with run.limits can be started here: {error}") from None
        if returned:
            result: T = value
            return result
        raise value

    def close(self) -> None:
        """End the child."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def _restart(self) -> None:
        self.close()
        self._pool = self._start()

    def _start(self) -> ProcessPool:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOAD)
        return ProcessPool(
            max_workers=1,
            max_tasks=_DESIGNS_A_CHILD,
            context=context,
            initializer=_confine,
            initargs=(self._limits.memory_mb,),
        )

    def _schedule(self, function: Callable[..., T], *arguments: Any) -> tuple[bool, Any]:
        """(whether the function returned, its result or its exception)."""
        limits = self._limits
        task = (function, limits.cpu_seconds, *arguments)
        future = self._pool.schedule(_timed, args=task, timeout=limits.wall_seconds)
        try:
            outcome: tuple[bool, Any] = future.result()
        except WallTimeout:
            raise Rejected(Code.TIMEOUT, f"no end after {limits.wall_seconds} s") from None
        except ProcessExpired as error:
            if error.exitcode == -signal.SIGXCPU:
                raise Rejected(Code.TIMEOUT, f"used its {limits.cpu_seconds} s of CPU time") from None
            raise Rejected(Code.CRASHED, f"the reading process died: {_exit_name(error.exitcode)}") from None
        except MemoryError:
            self._restart()
            raise Rejected(Code.OUT_OF_MEMORY, f"needs more than {limits.memory_mb} MiB of memory") from None
        return outcome


def _confine(memory_mb: int) -> None:
    """In the child: no more memory than allowed, no core dumps, no life after the parent."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    gc.freeze()  # what was loaded stays: looking for garbage after each design need not pass through it
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = used + memory_mb * 2**20
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _follow_parent() -> None:
    """In the child, a thread: the fork server outlives a killed parent, so nobody else would end this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _timed(function: Callable[..., T], cpu_seconds: int, *arguments: Any) -> tuple[bool, Any]:
    """In the child: ``function`` under a CPU limit that starts now. The default action of SIGXCPU ends the process.

    Nothing of a design is left for the next one: not its cycles, nor the frames that an exception remembers.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + cpu_seconds + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
    try:
        return True, function(*arguments)
    except MemoryError:
        raise
    except PipelineError as error:
        error.__cause__ = error.__context__ = error.__traceback__ = None
        return False, error
    except Exception as error:  # noqa: BLE001 - an exception of a library may not survive the way to the parent
        return False, ChildError(f"{type(error).__name__}: {error}")
    finally:
        gc.collect()


def _exit_name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
