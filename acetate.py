"""The command line: ``acetate COMMAND``. Commands are mounted lazily, so that ``--help`` costs no heavy import."""

from __future__ import annotations

import typer


def mounted() -> typer.Typer:
    """All commands, of data and of training."""
    from pipelines.cli import app as data
    from training.cli import app as training

    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    app.add_typer(data)
    app.add_typer(training)
    return app


def main() -> None:
    """Run the command line."""
    mounted()(prog_name="acetate")


if __name__ == "__main__":
    main()
