"""Tables of a benchmark's report, for Markdown files and for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Section = tuple[str, Sequence[str], Sequence[Sequence[Any]]]
"""A title, the heads of the columns, the rows; numbers with a fraction get two places."""


def console() -> Console:
    """A console that is wide where it goes to a file."""
    found = Console()
    return found if found.is_terminal else Console(width=160)


def publish(title: str, preamble: str, sections: Sequence[Section], out: Path | None) -> None:
    """Print a report, and write it as Markdown where there is an ``out``. Sections without rows are left out."""
    shown = console()
    shown.print(preamble, markup=False, highlight=False)
    report = f"# {title}\n\n{preamble}"
    for name, head, rows in sections:
        if rows:
            shown.print(_table(name, head, rows))
            report += f"\n## {name}\n\n{_markdown(head, rows)}\n"
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(report, encoding="utf-8")


def _markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(_cell(value).replace("|", "\\|") for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    out = Table(title=title, title_justify="left")
    for name in head:
        out.add_column(name, overflow="fold")
    for row in rows:
        out.add_row(*(_cell(value).replace("[", "\\[") for value in row))
    return out


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
