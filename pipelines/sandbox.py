"""A child process with limits for one design at a time: a crash, a hang or a bomb costs that design alone.

Limits are CPU time and memory, so that a loaded machine gives the same outcome, with a generous wall limit against a
child that waits for ever. The child dies with its parent.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as WallTimeout
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pebble import ProcessExpired, ProcessPool
from pydantic import BaseModel, ConfigDict, Field

from pipelines.errors import Rejected
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
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Limits(BaseModel):
    """What one design may cost: CPU seconds, MiB of memory, and a generous wall limit against hangs without CPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu_seconds: Annotated[int, Field(gt=0)] = 120
    wall_seconds: Annotated[int, Field(gt=0)] = 600
    memory_mb: Annotated[int, Field(ge=256)] = 6144


class Sandbox:
    """Runs functions in a child of its own, one at a time. Not for use from several threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        for name in _THREADS:
            os.environ.setdefault(name, "1")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOAD)
        self._pool = ProcessPool(
            max_workers=1,
            max_tasks=_DESIGNS_A_CHILD,
            context=context,
            initializer=_confine,
            initargs=(limits.memory_mb,),
        )

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a module-level function in the child; its exceptions are raised here.

        Raises:
            Rejected: with TIMEOUT, CRASHED or OUT_OF_MEMORY where the child did not come to an end of its own.
        """
        future = self._pool.schedule(
            _timed, args=(function, self._limits.cpu_seconds, *arguments), timeout=self._limits.wall_seconds
        )
        try:
            result: T = future.result()
        except WallTimeout:
            raise Rejected(Code.TIMEOUT, f"no end after {self._limits.wall_seconds} s") from None
        except ProcessExpired as error:
            if error.exitcode == -signal.SIGXCPU:
                raise Rejected(Code.TIMEOUT, f"used its {self._limits.cpu_seconds} s of CPU time") from None
            raise Rejected(Code.CRASHED, f"the reading process died: {_exit_name(error.exitcode)}") from None
        except MemoryError:
            raise Rejected(Code.OUT_OF_MEMORY, f"needs more than {self._limits.memory_mb} MiB of memory") from None
        return result

    def close(self) -> None:
        """End the child."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()


def _confine(memory_mb: int) -> None:
    """In the child: no more memory than allowed, no core dumps, no life after the parent."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _follow_parent() -> None:
    """In the child, a thread: the fork server outlives a killed parent, so nobody else would end this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _timed(function: Callable[..., T], cpu_seconds: int, *arguments: Any) -> T:
    """In the child: ``function`` under a CPU limit that starts now. The default action of SIGXCPU ends the process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + cpu_seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))
    return function(*arguments)


def _exit_name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
