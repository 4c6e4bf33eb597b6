"""The commands of the data side: synth, demo, build, inspect, validate, report, gc."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipelines.errors import PipelineError, UsageError
from schemas.errors import SchemaError

if TYPE_CHECKING:
    from schemas.dataset import Dataset

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Out = Annotated[
    str, typer.Option("--out", help="Where the dataset goes: a directory or any fsspec URL.", metavar="DATASET")
]
DatasetUrl = Annotated[str, typer.Argument(help="The dataset: a directory or any fsspec URL.", metavar="DATASET")]
ExecutorName = Annotated[str | None, typer.Option("--executor", help="ray (default) or inline (this process).")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Units worked on at once (default: all cores).")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Set a configuration key, e.g. run.unit_size=64.", metavar="KEY=VALUE")
]

_WIDE = 160  # columns of a table that goes to a file
_DEMO_UNIT = 8
"""Few designs, so small units: all workers have something to do and the progress moves."""


@contextmanager
def _told() -> Iterator[Console]:
    """Turn this package's errors into one line and an exit code: 2 for the user's mistakes, 1 for the rest."""
    console = Console(stderr=True, soft_wrap=True)
    try:
        yield console
    except UsageError as error:
        _complain(console, str(error))
        raise typer.Exit(2) from None
    except (PipelineError, SchemaError) as error:
        _complain(console, str(error))
        raise typer.Exit(1) from None
    except FileNotFoundError as error:
        _complain(console, f"a file of the dataset is gone: {error}; acetate validate lists all that is wrong")
        raise typer.Exit(1) from None
    except OSError as error:
        _complain(console, f"the disk refused: {error}; run the command again")
        raise typer.Exit(1) from None


def _complain(console: Console, message: str) -> None:
    console.print(f"acetate: {message}", style="red", highlight=False, markup=False)


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="The folder to write.", metavar="OUT")],
    count: Annotated[int, typer.Option("--count", min=1, help="How many designs.")] = 48,
    seed: Annotated[int, typer.Option("--seed", help="Design i depends on seed and i alone.")] = 0,
    profile: Annotated[str, typer.Option("--profile", help="design (the full range) or tiny (64 px).")] = "design",
) -> None:
    """Write licensed synthetic designs (PSD, ORA, layer folders) and their manifest.csv."""
    with _told() as console:
        manifest = _synthesise(out, count, seed, profile, console)
        print(manifest)  # noqa: T201 - the path is the command's result


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")] = Path("demo"),
    count: Annotated[int, typer.Option("--count", min=1, help="How many designs.")] = 48,
    seed: Annotated[int, typer.Option("--seed", help="Design i depends on seed and i alone.")] = 0,
    executor: ExecutorName = None,
    workers: Workers = None,
) -> None:
    """Synthesise designs, build a dataset of them, validate it and print where its report is."""
    with _told() as console:
        manifest = _synthesise(out / "designs", count, seed, "design", console)
        dataset = str(out / "dataset")
        overrides = {"run.unit_size": _DEMO_UNIT, **_overrides(executor, workers, None, None)}
        code = _build(None, str(manifest), None, dataset, overrides, None, console)
        code = code or _validate(dataset, console)
        print(f"{(out / 'dataset' / 'report' / 'index.html').resolve()}")  # noqa: T201
        raise typer.Exit(code)


@app.command()
def build(
    out: Out,
    config: Annotated[Path | None, typer.Argument(help="A YAML file; see the README for its keys.")] = None,
    manifest: Annotated[
        str | None, typer.Option("--manifest", help="CSV, JSONL or parquet with uri, licence, licensor.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="A folder or file of designs without a manifest.", metavar="URI")
    ] = None,
    executor: ExecutorName = None,
    workers: Workers = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask once more for the inputs that failed.")
    ] = False,
    code: Annotated[
        str | None, typer.Option("--code", help="With --retry-failed: only those of this ledger code.")
    ] = None,
    max_failed: Annotated[
        float | None,
        typer.Option(
            "--max-failed", min=0, max=1, help="Share of failed inputs over which the exit code is 1 (default 0.05)."
        ),
    ] = None,
    settings: Settings = None,
) -> None:
    """Build a dataset, or go on with one: only what is missing or changed is computed.

    Exit 0: every input is accounted for and the failed are within --max-failed. 1: not. 2: usage or configuration.
    """
    with _told() as console:
        from pipelines.build import Retry
        from schemas.ledger import Code

        if not out or Path(out).is_file():
            raise UsageError(f"--out wants a directory or a URL, not {out!r}")
        if code is not None and (not retry_failed or code not in [c for c in Code if c.state == "failed"]):
            raise UsageError(
                "--code goes with --retry-failed and is one of: " + ", ".join(c for c in Code if c.state == "failed")
            )
        again = Retry(Code(code) if code else None) if retry_failed else None
        overrides = _overrides(executor, workers, max_failed, settings)
        raise typer.Exit(_build(config, manifest, source, out, overrides, again, console))


@app.command()
def inspect(
    file: Annotated[
        str, typer.Argument(help="A design: PSD, PSB, ORA, a layer folder or parquet#row.", metavar="FILE")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the layers and pictures of the stack here.", metavar="DIR"),
    ] = None,
) -> None:
    """Show one design: its tree, how each layer was lowered, the layout and the recomposition error."""
    with _told():
        from pipelines.inspect import inspect as run

        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDE)
        raise typer.Exit(run(file, out, console))


@app.command()
def validate(dataset: DatasetUrl) -> None:
    """Check every checksum, schema, count, recomposition and expectation; exit 1 with what is wrong."""
    with _told() as console:
        raise typer.Exit(_validate(dataset, console))


@app.command()
def report(dataset: DatasetUrl) -> None:
    """Rebuild the report of a dataset."""
    with _told():
        from pipelines.publish import load_dataset
        from pipelines.report import ReportConfig, write_report
        from pipelines.storage import Store

        store = Store(dataset)
        published = load_dataset(store)
        if published is None:
            raise UsageError(f"no dataset at {dataset}: it has no dataset.json")
        print(f"{dataset.rstrip('/')}/{write_report(store, published, ReportConfig())}")  # noqa: T201


@app.command()
def gc(
    dataset: DatasetUrl,
    work: Annotated[bool, typer.Option("--work", help="Remove the stage artefacts too.")] = False,
) -> None:
    """Remove shards and files that the published generation does not name. Not while a build runs."""
    with _told():
        from pipelines.gc import collect
        from pipelines.storage import Store

        removed = collect(Store(dataset), work=work)
        print(f"removed {len(removed)} files")  # noqa: T201


def _synthesise(out: Path, count: int, seed: int, profile: str, console: Console) -> Path:
    from rich.progress import Progress

    from pipelines.synth import synthesise

    if profile not in ("design", "tiny"):
        raise UsageError(f"--profile is design or tiny, not {profile!r}")
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("synth", total=count)
        show: Callable[[int], None] = lambda done: progress.update(task, completed=done)  # noqa: E731
        return synthesise(out, count, seed, profile, show)  # type: ignore[arg-type]


def _overrides(
    executor: str | None, workers: int | None, max_failed: float | None, settings: list[str] | None
) -> dict[str, Any]:
    from pipelines.config import parse_assignments

    chosen = {"run.executor": executor, "run.workers": workers, "run.max_failed": max_failed}
    return {**parse_assignments(settings or ()), **{key: value for key, value in chosen.items() if value is not None}}


def _build(
    path: Path | None,
    manifest: str | None,
    source: str | None,
    out: str,
    overrides: dict[str, Any],
    again: Any,
    console: Console,
) -> int:
    from pipelines.build import build as run
    from pipelines.config import load_config
    from pipelines.progress import Reporter
    from pipelines.storage import Store

    given = {"manifest.path": manifest, "source.uri": source}
    config = load_config(path, {**overrides, **{key: value for key, value in given.items() if value is not None}})
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with Reporter(console) as reporter:
        result = run(config, Store(out, config.run.storage_options), reporter, again)
    counts = result.dataset.counts
    state = f"generation {result.dataset.generation}" if result.fresh else "up to date"
    print(f"{out}: {state}: {_sum(result.dataset)}")  # noqa: T201
    if counts.ok == 0:
        _complain(console, f"no input became a sample; the ledger in {out}/report says why")
    if counts.failed > config.run.max_failed * counts.inputs + 1e-9:
        share, limit = counts.failed / counts.inputs, config.run.max_failed
        console.print(
            f"acetate: {share:.1%} of the inputs failed, the limit is {limit:.1%}; see the ledger in {out}/report, "
            "then --retry-failed or a higher --max-failed",
            style="red",
            highlight=False,
            markup=False,
        )
        return 1
    return 0


def _validate(dataset: str, console: Console) -> int:
    from rich.progress import Progress

    from pipelines.storage import Store
    from pipelines.validation.verify import verify

    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("validate", total=None)
        problems = verify(Store(dataset), lambda done, total: progress.update(task, completed=done, total=total))
    for problem in problems:
        console.print(f"{problem.where}: {problem.message}", style="red", highlight=False, markup=False)
    if problems:
        print(f"{dataset}: {len(problems)} problems")  # noqa: T201
        return 1
    from pipelines.publish import load_dataset

    published = load_dataset(Store(dataset))
    if published is not None:
        print(f"{dataset}: valid: {_sum(published)}")  # noqa: T201
    return 0


def _sum(dataset: Dataset) -> str:
    counts = dataset.counts
    return f"inputs {counts.inputs} = ok {counts.ok} + filtered {counts.filtered} + failed {counts.failed}"
