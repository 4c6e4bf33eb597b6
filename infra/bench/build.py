"""How the build scales: ``python -m infra.bench.build [--designs 192] [--large 2000]``.

Workers: designs per second over the unit stages with 1 and 2 workers on the same synthetic designs, one thread a
worker, Ray and its workers warm (start-up and the dedup barrier given apart). Peer: psd-tools alone reading and
compositing the same designs in one process, which is what people write today. Driver: its peak memory and Ray's object
store for 100 and ``--large`` tiny designs, and the time of a second run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from infra.bench.machine import describe
from pipelines.build import Run, build
from pipelines.config import BuildConfig
from pipelines.execute import OnRay
from pipelines.manifest import read_inputs
from pipelines.plan import make_plan, save_plan, unit_key
from pipelines.progress import Reporter
from pipelines.stages import Context
from pipelines.storage import Store
from pipelines.synth import synthesise

UNIT_STAGES = ("caption", "group", "restyle", "shard")


def config_for(manifest: Path, **run: Any) -> BuildConfig:
    return BuildConfig.model_validate({"manifest": {"path": str(manifest)}, "run": run})


def scaling(manifest: Path, warm: Path, workers: int, folder: Path) -> dict[str, float]:
    """Seconds of start-up, barrier and unit stages with ``workers``."""
    started = time.monotonic()
    with OnRay(workers) as executor, Reporter(Console(quiet=True)) as reporter:
        executor.start()
        _stages(config_for(warm, workers=workers, unit_size=4), folder / "warm", executor, reporter)
        ready = time.monotonic()
        seconds = _stages(config_for(manifest, workers=workers, unit_size=8), folder / "out", executor, reporter)
    seconds["startup"] = ready - started
    return seconds


def _stages(config: BuildConfig, out: Path, executor: OnRay, reporter: Reporter) -> dict[str, float]:
    store = Store(str(out))
    base, inputs = read_inputs(config.manifest, config.source, {})
    plan = save_plan(
        store,
        make_plan(
            base,
            inputs,
            unit_size=config.run.unit_size,
            splits={"train": 1.0},
            policy=config.licence,
            old=None,
            today=datetime.datetime.now(datetime.UTC).date(),
        ),
    )
    run = Run(Context(store, plan.name, base, config), plan, executor, reporter)
    seconds: dict[str, float] = {}

    def timed(name: str, *inputs: Any) -> Any:
        start = time.monotonic()
        keys = run.dedup(*inputs) if name == "dedup" else run.stage(name, *inputs)
        seconds[name] = time.monotonic() - start
        return keys

    extracted = timed("extract", [unit_key(rows) for rows in plan.units])
    dedup = timed("dedup", extracted, set())
    made = [timed(name, extracted, dedup) for name in UNIT_STAGES[:-1]]
    timed("shard", extracted, dedup, *made)
    return seconds


def plain_psd_tools(designs: Path) -> float:
    """Designs per second of psd-tools alone: every layer and the document composited, nothing checked or kept."""
    from psd_tools import PSDImage

    files = sorted(designs.glob("*.psd"))
    start = time.monotonic()
    for path in files:
        document = PSDImage.open(path)
        for layer in document.descendants():
            if not layer.is_group():
                layer.composite()
        document.composite(ignore_preview=True)
    return len(files) / (time.monotonic() - start)


def driver(manifest: Path, out: Path) -> dict[str, float]:
    """In a process of its own: build, and give the driver's peak memory and the object store's peak."""
    peak = [0]
    stop = threading.Event()

    def watch() -> None:
        import ray

        while not stop.wait(0.5):
            if ray.is_initialized():
                total, free = ray.cluster_resources(), ray.available_resources()  # type: ignore[no-untyped-call]
                name = "object_store_memory"
                peak[0] = max(peak[0], int(total.get(name, 0) - free.get(name, 0)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    with Reporter(Console(quiet=True)) as reporter:
        result = build(config_for(manifest, workers=2), Store(str(out)), reporter)
    stop.set()
    watcher.join()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "inputs": result.dataset.counts.inputs,
        "ok": result.dataset.counts.ok,
        "seconds": time.monotonic() - start,
        "driver_mb": int(status["VmHWM"].split()[0]) / 1024,
        "object_store_mb": peak[0] / 2**20,
    }


def _in_child(manifest: Path, out: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "infra.bench.build", "--driver", str(manifest), str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def _second_run(manifest: Path, out: Path) -> tuple[float, bool]:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    start = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "acetate",
        "build",
        "--manifest",
        str(manifest),
        "--out",
        str(out),
        "--workers",
        "2",
    ]
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.monotonic() - start
    return seconds, before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--designs", type=int, default=192)
    parser.add_argument("--large", type=int, default=2000)
    parser.add_argument("--driver", nargs=2, metavar=("MANIFEST", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if arguments.driver:
        print(json.dumps(driver(Path(arguments.driver[0]), Path(arguments.driver[1]))))
        return
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = synthesise(folder / "designs", arguments.designs, 1, "design")
        warm = synthesise(folder / "warm", 16, 2, "tiny")
        rates = {}
        for workers in (1, 2):
            seconds = scaling(manifest, warm, workers, folder / f"w{workers}")
            unit = seconds["extract"] + sum(seconds[stage] for stage in UNIT_STAGES)
            rates[workers] = arguments.designs / unit
            parts = ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items())
            print(f"{workers} workers: {rates[workers]:.2f} designs/s over the unit stages ({parts})")
        print(f"2 workers / 1 worker: {rates[2] / rates[1]:.2f}")
        peer = plain_psd_tools(folder / "designs")
        print(f"psd-tools alone, 1 process: {peer:.2f} designs/s; 1 worker / psd-tools: {rates[1] / peer:.2f}")
        for count in (100, arguments.large):
            tiny = synthesise(folder / f"tiny{count}", count, 3, "tiny")
            print(json.dumps(_in_child(tiny, folder / f"out{count}")))
        seconds_again, silent = _second_run(tiny, folder / f"out{arguments.large}")
        print(f"second run of {arguments.large}: {seconds_again:.1f} s, wrote nothing: {silent}")


if __name__ == "__main__":
    main()
