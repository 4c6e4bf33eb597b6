"""Timers around the functions of a module, for a table of where the time goes. For benchmarks alone.

A function's own time goes to the stage of its module, without the time of what it calls in other stages. Functions of
modules without a stage, closures and methods count where they are called from.
"""

from __future__ import annotations

import functools
import inspect
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any


class Timers:
    """CPU seconds by stage, of the code between ``start`` and ``stop``."""

    def __init__(self, rest: str) -> None:
        self._rest = rest
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack = [rest]
        self._since = 0.0

    def start(self) -> None:
        self._stack = [self._rest]
        self._since = time.process_time()

    def stop(self) -> None:
        self._lap()
        self._stack = [self._rest]

    def _lap(self) -> None:
        now = time.process_time()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """The function with its time counted for ``stage``."""

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            if self._stack[-1] == stage:
                return function(*arguments, **named)
            self._lap()
            self._stack.append(stage)
            try:
                return function(*arguments, **named)
            finally:
                self._lap()
                self._stack.pop()

        return call

    def hook(self, stages: Mapping[str, str]) -> None:
        """Time every public function of the modules in ``stages`` (the longest prefix of a name decides), wherever
        another module has imported it. ``module:Class.method`` names one method.
        """
        replaced: dict[int, Callable[..., Any]] = {}
        for name, module in list(sys.modules.items()):
            stage = _stage(name, stages)
            for attribute, value in list(vars(module).items()) if stage and module else ():
                own = inspect.isfunction(value) and value.__module__ == name and not attribute.startswith("_")
                if own and not inspect.isgeneratorfunction(value):
                    replaced[id(value)] = self.timed(value, stages.get(f"{name}:{attribute}", stage or ""))
        for name, module in list(sys.modules.items()):
            for attribute, value in list(vars(module).items()) if name.partition(".")[0] in _OURS and module else ():
                if id(value) in replaced and inspect.isfunction(value):
                    setattr(module, attribute, replaced[id(value)])
        for target, stage in stages.items():
            self._method(target, stage)

    def _method(self, target: str, stage: str) -> None:
        module, _, path = target.partition(":")
        owner, dot, method = path.partition(".")
        if dot:
            holder = getattr(sys.modules[module], owner)
            setattr(holder, method, self.timed(getattr(holder, method), stage))


_OURS = ("pipelines", "schemas")


def _stage(name: str, stages: Mapping[str, str]) -> str | None:
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((stages[prefix] for prefix in prefixes if prefix in stages), None)
