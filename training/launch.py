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
import contextlib
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

import torch

from schemas.errors import SettingsError
from schemas.settings import parse_assignments
from training.errors import RemoteError, TrainingError, UsageError
from training.interruption import SIGNALS
from training.parallel import BACKENDS, TIMEOUT_S

if TYPE_CHECKING:
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent

ENTRY = "training.train"


def by_torchrun(words: Sequence[str], *, workers: int, restarts: int = 0, entry: str = ENTRY) -> int:
    """Run ``entry`` with ``words``, its command line, as ``workers`` processes of this host; gives their exit code.

    All are started again, at most ``restarts`` times, when one fails. SIGTERM and SIGINT are handed on to them and what
    they end with is waited for: 0 where all saved. One that comes before they are there ends with 128 and its number.

    Raises:
        TrainingError: a process was killed.
    """
    from torch.distributed.elastic.multiprocessing import SignalException

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGHUP,SIGQUIT"  # for SIGTERM the agent would forget how ranks end
    try:
        with _HandedOn() as signals:
            for left in range(max(0, restarts), -1, -1):
                agent = signals.to(_agent(("-m", entry, *words), workers))
                try:
                    failures = agent.run().failures
                finally:
                    agent.get_worker_group().spec.rdzv_handler.shutdown()
                if not failures or signals.come or not left:
                    break
    except SignalException as error:
        return 128 + int(error.sigval)
    if not failures:
        return 0
    rank, failure = min(failures.items(), key=lambda item: item[1].timestamp)
    if failure.exitcode < 0:
        raise TrainingError(f"rank {rank} was killed by signal {-failure.exitcode}")
    return int(failure.exitcode)


class _HandedOn:
    """Context manager: signals that end a run go to the processes of an agent. ``come``: the last of them."""

    def __init__(self) -> None:
        self.come: signal.Signals | None = None
        self._agent: LocalElasticAgent | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._hand_on) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def to(self, agent: LocalElasticAgent) -> LocalElasticAgent:
        """From now on those of ``agent``, which is yet to run. Raises SignalException: one came for those before."""
        self._agent = agent
        if self.come is not None:
            raise _signalled(self.come)
        return agent

    def _hand_on(self, number: int, _: FrameType | None) -> None:
        self.come = signal.Signals(number)
        workers = self._agent.get_worker_group().workers if self._agent else []
        ranks = [worker.id for worker in workers if worker.id is not None]
        if not ranks:
            raise _signalled(self.come)
        for rank in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rank, number)  # and no process of its own: those that read for it are its business


def _signalled(number: signal.Signals) -> Exception:
    from torch.distributed.elastic.multiprocessing import SignalException

    return SignalException("there is no process to hand it on to", number)


def _agent(words: tuple[str, ...], workers: int) -> LocalElasticAgent:
    """Torchrun's agent, which starts ``python WORDS`` as all ranks of a world of this host."""
    from torch.distributed.elastic.agent.server.api import WorkerSpec
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.rendezvous import RendezvousParameters
    from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler
    from torch.distributed.launcher.api import LaunchConfig

    host = "localhost"
    usual = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=workers)
    rendezvous = RendezvousParameters("c10d", f"{host}:0", uuid.uuid4().hex, 1, 1, host, **usual.rdzv_configs)
    spec = WorkerSpec(
        role=usual.role,
        local_world_size=workers,
        rdzv_handler=get_rendezvous_handler(rendezvous),
        entrypoint=sys.executable,
        args=words,
        max_restarts=0,
        monitor_interval=usual.monitor_interval,
        local_addr=host,
        numa_options=usual.numa_options,
    )
    return LocalElasticAgent(spec, DefaultLogsSpecs())


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
