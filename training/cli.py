"""The commands of the training side: train, evaluate, estimate."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Config = Annotated[Path, typer.Argument(help="A YAML file; see the README for its keys.", metavar="CONFIG")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Set a key of the configuration, many times.", metavar="KEY=VALUE")
]


@app.command()
def train(
    config: Config,
    settings: Settings = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes (default: the GPUs of this host, or one).")
    ] = None,
    ray: Annotated[bool, typer.Option("--ray", help="The processes are workers of Ray Train.")] = False,
) -> None:
    """Train a model, or go on with a run: SIGTERM saves and exits 0, the same command goes on.

    Exit 0: done, or interrupted and saved. 1: something failed. 2: usage or configuration.
    """
    _needs_torch()
    from training import launch
    from training import train as training

    words = _words(config, settings)
    if workers is None and not ray and launch.processes() == 1:
        raise typer.Exit(training.main(words))
    more = [*(["--workers", str(workers)] if workers else []), *(["--ray"] if ray else [])]
    raise typer.Exit(launch.main([*words, *more]))


@app.command("train-codec")
def train_codec(config: Config, settings: Settings = None) -> None:
    """Train a codec: a VAE of layers, its decoder, or the joint decoder of all layers of a design."""
    _needs_torch()
    from training.codec_training import main

    raise typer.Exit(main(_words(config, settings)))


@app.command()
def evaluate(config: Config, settings: Settings = None) -> None:
    """Measure a trained model beside the trivial baselines: JSON, tables, and a page of cases."""
    _needs_torch()
    from training.evaluation.evaluate import main

    raise typer.Exit(main(_words(config, settings)))


@app.command()
def estimate(
    train: Annotated[bool, typer.Option("--train", help="Of a training run: memory of a GPU, tokens, days.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set a key of the estimate, e.g. gpus=[8,64].", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Say what a training run would take before it is begun."""
    _needs_torch()
    from schemas.errors import SettingsError
    from schemas.settings import load_settings, parse_assignments
    from training.errors import TrainingError
    from training.estimate import EstimateConfig, render
    from training.estimate import estimate as estimated

    try:
        if not train:
            raise SettingsError("say what is to be estimated: --train")
        given: dict[str, Any] = parse_assignments(settings or (), "preset=small")
        print(render(estimated(load_settings(EstimateConfig, None, given))))  # noqa: T201 - the command's result
    except (SettingsError, TrainingError) as error:
        typer.echo(f"acetate: {error}", err=True)
        raise typer.Exit(2) from None


def _needs_torch() -> None:
    """End in one line where the packages of training are not installed."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("diffusers") is None:
        typer.echo("acetate: training needs more packages: pip install 'acetate[train]'", err=True)
        raise typer.Exit(2)


def _words(config: Path, settings: Sequence[str] | None) -> list[str]:
    return [str(config), *(word for setting in settings or () for word in ("--set", setting))]
