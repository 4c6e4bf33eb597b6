"""The fuzz target: mutation number n of a list of seeds, extracted in a child with limits, ends in one ledger code.

A mutation depends on its number and the seeds alone. What comes of it is a code, or a finding: an error that is no
``Rejected``, a hang, a crash, or more memory than the read limits should ever let a design ask for.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pipelines.errors import Rejected
from pipelines.extract import ExtractConfig, ImageConfig, extract_file
from pipelines.flatten import FlattenConfig
from pipelines.formats import ReadLimits, fetch
from pipelines.formats.limits import first_line
from pipelines.sandbox import ChildError, Limits, Sandbox
from schemas.ledger import Code
from tests.pipelines.fuzz import bytewise, structured
from tests.pipelines.fuzz.seeds import Seed

READ = ReadLimits(max_bytes=32 * 2**20, max_pixels=2_000_000, max_layer_pixels=4_000_000, max_layer_side=10_000)
CONFIG = ExtractConfig(read=READ, extract=FlattenConfig(min_layers=1, min_side=1, max_side=1024), image=ImageConfig())
LIMITS = Limits(cpu_seconds=20, wall_seconds=400, memory_mb=1024)
BATCH = 100
EXPECTED = frozenset(
    {
        Code.OK,
        Code.UNREADABLE,
        Code.UNSUPPORTED,
        Code.NOT_FOUND,
        Code.TOO_LARGE,
        Code.TOO_SMALL,
        Code.TOO_FEW_LAYERS,
        Code.RECOMPOSE_MISMATCH,
    }
)


@dataclass
class Outcomes:
    """Codes by how often, and (mutation number, what happened) for everything that is no code."""

    codes: Counter[Code] = field(default_factory=Counter)
    findings: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Outcomes) -> None:
        self.codes.update(other.codes)
        self.findings += other.findings

    @property
    def total(self) -> int:
        return self.codes.total() + len(self.findings)


def mutate(number: int, seeds: Sequence[Seed], into: Path) -> tuple[Path, str]:
    """Write mutation ``number`` under ``into``; returns where it is and the uri that names its design."""
    dice = Random(number)
    seed = dice.choice(seeds)
    if seed.format == "folder":
        target = into / "folder"
        shutil.copytree(seed.path, target)
        structured.folder(target, dice)
        return target, str(target)
    target = into / f"mutated{seed.path.suffix}"
    data = seed.path.read_bytes()
    other = dice.choice([kin for kin in seeds if kin.format == seed.format]).path.read_bytes()
    target.write_bytes(_changed(seed.format, data, other, dice) or b"\0")
    return target, f"{target}#{dice.randrange(3)}" if seed.format == "crello" else str(target)


def _changed(format: str, data: bytes, other: bytes, dice: Random) -> bytes:
    if dice.random() < 0.5:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if format == "psd":
                    return structured.psd(data, other, dice)
                return structured.ora(data, dice) if format == "ora" else structured.crello(data, dice)
        except Exception:  # noqa: BLE001 - psd-tools cannot write every value; then the bytes are changed instead
            pass
    changed = bytearray(data)
    kinds = (*bytewise.ANY, *bytewise.PSD) if format == "psd" else bytewise.ANY
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        if changed:
            dice.choice(kinds)(changed, dice, other)
    return bytes(changed)


def extract(uri: str, into: Path) -> Code:
    """The code of one source, as ``pipelines.extract`` gives it; raises what no reader foresaw."""
    try:
        extract_file(fetch(uri, into, READ, {}), CONFIG)
    except Rejected as error:
        return error.code
    return Code.OK


def run_batch(numbers: Sequence[int], seeds: Sequence[Seed], log: Path) -> Outcomes:
    """In the child: every number under a CPU limit of its own; ``log`` keeps the one that runs."""
    outcomes = Outcomes()
    warnings.simplefilter("ignore")
    for number in numbers:
        log.write_text(str(number), encoding="ascii")
        with tempfile.TemporaryDirectory(dir=log.parent) as folder:
            working = Path(folder) / "working"
            working.mkdir()
            _, uri = mutate(number, seeds, Path(folder))
            _limit_cpu()
            try:
                code = extract(uri, working)
            except MemoryError:
                outcomes.findings.append((number, f"MemoryError within {LIMITS.memory_mb} MiB"))
                continue
            except Exception as error:  # noqa: BLE001 - these are what is looked for
                outcomes.findings.append((number, f"{type(error).__name__} at {_place(error)}: {first_line(error)}"))
                continue
            outcomes.codes[code] += 1
    return outcomes


def _limit_cpu() -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + LIMITS.cpu_seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    places = []
    while trace is not None:
        places.append(f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}")  # noqa: PTH119
        trace = trace.tb_next
    return " < ".join(reversed(places[-4:]))


def run(numbers: Sequence[int], seeds: Sequence[Seed], folder: Path, workers: int = 2) -> Outcomes:
    """Every number, in a sandbox a worker."""
    outcomes = Outcomes()
    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(lambda worker: _share(numbers[worker::workers], seeds, folder), range(workers)):
            outcomes.add(found)
    return outcomes


def _share(numbers: Sequence[int], seeds: Sequence[Seed], folder: Path) -> Outcomes:
    """One worker's numbers; a batch that dies is a finding of the number it died at, and goes on after it."""
    outcomes = Outcomes()
    sandbox = Sandbox(LIMITS)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as working:
            log = Path(working) / "running"
            left = list(numbers)
            while left:
                batch = left[:BATCH]
                try:
                    outcomes.add(sandbox.run(run_batch, batch, seeds, log))
                    left = left[len(batch) :]
                except (Rejected, ChildError) as error:
                    died = int(log.read_text(encoding="ascii"))
                    at = batch.index(died)
                    if at:
                        outcomes.add(sandbox.run(run_batch, batch[:at], seeds, log))
                    outcomes.findings.append((died, str(error)))
                    left = left[at + 1 :]
    finally:
        sandbox.close()
    return outcomes
