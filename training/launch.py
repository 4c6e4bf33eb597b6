"""Start a training run as several processes: ``python -m training.launch CONFIG --workers 8``, on this host or on Ray.

On this host it is torchrun's agent with a rendezvous of its own. A run over several hosts is torchrun's too, given on
each of them: ``torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:PORT -m training.train
CONFIG``. With ``--ray`` the processes are workers of Ray Train, on the cluster of ``RAY_ADDRESS`` or a Ray of this
host.

What is started is a module (``--entry``) that has ``run(config, overrides) -> int`` for Ray and takes ``CONFIG`` and
``--set`` as a program for torchrun. It calls ``training.parallel.join``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from schemas.errors import SettingsError
from schemas.settings import parse_assignments
from training.errors import RemoteError, TrainingError, UsageError
from training.parallel import BACKENDS, TIMEOUT_S

ENTRY = "training.train"

SAVING_S = 600
"""Seconds that processes have for their checkpoint after SIGTERM before they are killed."""


def by_torchrun(words: Sequence[str], *, workers: int, restarts: int = 0, entry: str = ENTRY) -> int:
    """Run ``entry`` with ``words``, its command line, as ``workers`` processes of this host; gives their exit code.

    All are started again, at most ``restarts`` times, when one fails. SIGTERM and SIGINT are handed on, and the code is
    then 128 and the number of the signal.

    Raises:
        TrainingError: a process was killed.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=workers,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=restarts,
        shutdown_timeout=SAVING_S,
    )
    try:
        elastic_launch(config, sys.executable)("-m", entry, *words)
    except SignalException as error:
        return 128 + int(error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            raise TrainingError(f"rank {rank} was killed by signal {-failure.exitcode}") from None
        return int(failure.exitcode)
    return 0


def by_ray(
    config: Path, overrides: dict[str, Any], *, workers: int, gpus: float = 0, restarts: int = 0, entry: str = ENTRY
) -> int:
    """Run ``entry`` on ``workers`` workers of Ray Train with ``gpus`` each; gives what ``run`` returned on rank 0.

    All are started again, at most ``restarts`` times, when one fails. ``config`` is read by each worker.

    Raises:
        UsageError: Ray is not there, or a worker refused a setting.
        TrainingError: a worker failed.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise UsageError(f"Ray Train is not there ({error}): install ray[train]") from None
    started = _join_ray(ray, workers)
    try:
        # Ray Train notes the state of its run here; checkpoints go where the configuration says.
        with tempfile.TemporaryDirectory(prefix="acetate-ray-") as notes:
            trainer = TorchTrainer(
                _on_worker,  # type: ignore[arg-type]
                train_loop_config={"entry": entry, "config": str(config.absolute()), "overrides": overrides},
                torch_config=TorchConfig(backend=BACKENDS["cuda" if gpus else "cpu"], timeout_s=int(TIMEOUT_S)),
                scaling_config=ScalingConfig(
                    num_workers=workers,
                    use_gpu=bool(gpus),
                    resources_per_worker={"CPU": 1, **({"GPU": gpus} if gpus else {})},
                ),
                run_config=RunConfig(
                    name=uuid.uuid4().hex, storage_path=notes, failure_config=FailureConfig(max_failures=restarts)
                ),
            )
            return int(trainer.fit().return_value or 0)  # type: ignore[attr-defined]
    except TrainingFailedError as error:
        raise _told(error) from error
    finally:
        if started:
            ray.shutdown()


def processes() -> int:
    """How many processes a run has on this host where nobody says so: one for each GPU, or one."""
    return max(1, torch.cuda.device_count() if torch.cuda.is_available() else 0)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.launch", description=__doc__.split(":", 1)[0])
    parser.add_argument("config", type=Path, help="the configuration of the run (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a configuration key")
    parser.add_argument("--workers", type=_positive, help="processes (default: the GPUs of this host, or one)")
    parser.add_argument("--ray", action="store_true", help="as workers of Ray Train")
    parser.add_argument("--gpus-per-worker", type=float, help="with --ray (default: 1 where this host has any)")
    parser.add_argument("--restarts", type=int, default=0, help="how often all are started again when one fails")
    parser.add_argument("--entry", default=ENTRY, metavar="MODULE", help=f"what to run (default: {ENTRY})")
    given = parser.parse_args(argv)
    workers = given.workers or processes()
    try:
        overrides = parse_assignments(given.set, "run.steps=100")
        if not given.config.is_file():
            raise UsageError(f"there is no configuration {given.config}")
        if given.ray:
            gpus = given.gpus_per_worker if given.gpus_per_worker is not None else float(torch.cuda.is_available())
            options = {"workers": workers, "restarts": given.restarts, "entry": given.entry}
            return by_ray(given.config, overrides, gpus=gpus, **options)
        words = [str(given.config), *(word for setting in given.set for word in ("--set", setting))]
        return by_torchrun(words, workers=workers, restarts=given.restarts, entry=given.entry)
    except (SettingsError, TrainingError) as error:
        sys.stderr.write(f"acetate: {error}\n")
        return 2 if isinstance(error, SettingsError | UsageError) else 1


def _positive(word: str) -> int:
    if int(word) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(word)


def _join_ray(ray: Any, workers: int) -> bool:
    """Join or start Ray; whether this was done here."""
    if ray.is_initialized():
        return False
    alone: dict[str, Any] = {}
    if not os.environ.get("RAY_ADDRESS"):
        cores = max(workers, os.cpu_count() or 1)
        alone = {"address": "local", "num_cpus": cores, "include_dashboard": False}
    try:
        ray.init(logging_level=logging.ERROR, configure_logging=False, **alone)
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"Ray did not start ({str(error).strip().splitlines()[0]}); see RAY_ADDRESS") from None
    return True


def _on_worker(given: dict[str, Any]) -> int:
    return int(import_module(given["entry"]).run(Path(given["config"]), given["overrides"]))


def _told(error: Any) -> TrainingError:
    """What failed on Ray in one line: the user's mistake before a failure, either before what it did to other ranks."""
    found = sorted(getattr(error, "worker_failures", {}).items())
    failures = [(rank, getattr(cause, "_base_exc", cause)) for rank, cause in found]  # Ray's wrapper prints the stack
    if not failures:
        return TrainingError(f"Ray Train gave up: {str(error).strip().splitlines()[-1]}")
    failures.sort(key=lambda failure: (isinstance(failure[1], RemoteError), not isinstance(failure[1], UsageError)))
    rank, cause = failures[0]
    if isinstance(cause, UsageError):
        return UsageError(str(cause))
    return TrainingError(f"rank {rank}: {type(cause).__name__}: {cause}")


if __name__ == "__main__":
    sys.exit(main())
