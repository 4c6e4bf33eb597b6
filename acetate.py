"""The command line: ``acetate COMMAND``. Commands are mounted lazily, so that ``--help`` costs no heavy import."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from pipelines.cli import app

    app(prog_name="acetate")


if __name__ == "__main__":
    main()
