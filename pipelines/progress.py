"""One line a stage: done of total, rate, time left, failures by code. Rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_EVERY_SECONDS = 10.0


class Line:
    """The line of one stage. ``show`` is called with the finished text fields whenever something moved."""

    def __init__(self, total: int, show: Callable[[int, str], None]) -> None:
        self.total = total
        self.done = 0
        self._codes: Counter[str] = Counter()
        self._started = time.monotonic()
        self._show = show

    def add(self, done: int, codes: Mapping[str, int]) -> None:
        """``done`` more designs, of which ``codes`` ended so."""
        self.done += done
        self._codes.update({code: n for code, n in codes.items() if code != "ok"})
        self._show(done, self.text)

    @property
    def text(self) -> str:
        seconds = max(1e-3, time.monotonic() - self._started)
        parts = [f"{self.done / seconds:.1f}/s"]
        parts += [f"{code} {n}" for code, n in sorted(self._codes.items())]
        return "  ".join(parts)


class Reporter:
    """Shows the stages of a build as they run. A context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}"),
            console=console,
            disable=not self._live,
        )

    def stage(self, name: str, total: int, skipped: int) -> Line:
        """Begin the line of a stage of ``total`` designs, ``skipped`` of which are committed already."""
        if self._live:
            task = self._progress.add_task(name, total=total, completed=skipped, text="")
            return Line(total, lambda done, text: self._progress.update(task, advance=done, text=text))
        last = [time.monotonic()]
        note = f" ({skipped} done before)" if skipped else ""
        self.console.print(f"{name}: {total} designs{note}", highlight=False)

        def show(_done: int, text: str) -> None:
            finished = line.done + skipped >= total
            if not finished and time.monotonic() - last[0] < _EVERY_SECONDS:
                return
            last[0] = time.monotonic()
            rate = line.done / max(1e-3, time.monotonic() - line._started)
            left = "" if finished or not rate else f"  ETA {(total - skipped - line.done) / rate:.0f} s"
            self.console.print(f"{name}: {line.done + skipped}/{total}  {text}{left}", highlight=False)

        line = Line(total, show)
        return line

    def say(self, text: str) -> None:
        """A line of plain text above the bars."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Reporter:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
