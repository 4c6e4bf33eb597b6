"""Pace, and the line that says it."""

from __future__ import annotations

import io
import logging
import math
import re

import pytest
from rich.console import Console

from training import progress
from training.progress import Meter, RunProgress, duration, logged, rate


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(meter: Meter, clock: Clock, seconds: float, steps: int, loss: float = 1.0, waited: float = 0.0) -> None:
    for _ in range(steps):
        clock.now += seconds
        meter.add(loss=loss, tokens=300, waited=waited)


def test_a_steady_run_has_its_rate_from_the_first_step() -> None:
    clock = Clock()
    meter = Meter(clock)
    for steps in (1, 10, 1000):
        run(meter, clock, 0.5, steps, waited=0.125)
        assert meter.pace.steps == pytest.approx(2)
        assert meter.pace.tokens == pytest.approx(600)
        assert meter.pace.wait == pytest.approx(0.25)


def test_the_pace_follows_what_is_recent() -> None:
    clock = Clock()
    meter = Meter(clock)
    run(meter, clock, 1.0, 100)
    run(meter, clock, 0.1, 1500)
    assert 9 < meter.pace.steps < 10.1


def test_a_pause_is_no_time_of_a_step() -> None:
    clock = Clock()
    meter = Meter(clock)
    run(meter, clock, 0.5, 10)
    clock.now += 600
    meter.pause()
    run(meter, clock, 0.5, 1)
    assert meter.pace.steps == pytest.approx(2)


def test_the_loss_is_smoothed_without_a_pull_to_zero() -> None:
    clock = Clock()
    meter = Meter(clock)
    assert math.isnan(meter.loss) and meter.pace.steps == 0
    run(meter, clock, 1.0, 1, loss=4.0)
    assert meter.loss == pytest.approx(4.0)
    run(meter, clock, 1.0, 1, loss=2.0)
    assert 2.9 < meter.loss < 3.1
    run(meter, clock, 1.0, 1000, loss=2.0)
    assert meter.loss == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (12.4, "12 s"), (187, "3 min 07 s"), (3900, "1 h 05 min"), (183_600, "2 d 3 h"), (math.inf, "?")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_slow_steps_are_told_in_seconds() -> None:
    assert rate(3.25) == "3.2 steps/s" and rate(0.25) == "4.0 s/step" and rate(0) == "0.0 steps/s"


def show(*, terminal: bool, steps: int = 20, name: str = "train") -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=160, _environ={})
    with logged(console), RunProgress(console, name, 1000 + steps, done=1000) as shown:
        for step in range(1001, 1001 + steps):
            shown.step(step, loss=0.5, tokens=2000, waited=0.0, lr=3e-4)
            if step == 1005:
                logging.getLogger("training.tests").warning("a [b]shard[/b] was skipped")
    return out.getvalue()


def test_without_a_terminal_there_are_few_plain_lines() -> None:
    first, warned, last = show(terminal=False).splitlines()
    assert re.fullmatch(
        r"train 1,001/1,020  [\d.]+ steps/s  ETA \d+ s  [\d,]+ tokens/s  loss 0\.5000  data 0%  lr 3\.00e-04", first
    )
    assert warned == "warning: a [b]shard[/b] was skipped"
    assert last.startswith("train 1,020/1,020  ") and "ETA 0 s" in last


def test_plain_lines_come_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    assert len(show(terminal=False).splitlines()) == 21


def test_a_terminal_has_a_line_that_moves_and_the_log_above_it() -> None:
    shown = show(terminal=True)
    assert "1020/1020" in shown and "tokens/s" in shown and "\x1b[" in shown
    assert "warning: a [b]shard[/b] was skipped" in shown


def test_the_log_is_left_alone_afterwards() -> None:
    before = list(logging.getLogger().handlers)
    show(terminal=False)
    assert logging.getLogger().handlers == before


def test_a_name_is_no_markup() -> None:
    assert show(terminal=False, name="[red]x").startswith("[red]x 1,001")
    assert "[red]x" in show(terminal=True, name="[red]x")
