"""Which requests go wrong and how, and what was asked for."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal, get_args

from infra.s3.wire import Head

Kind = Literal["latency", "slow", "cut", "error", "truncated", "corrupted", "missing", "reset"]


@dataclass(frozen=True)
class Fault:
    """What happens to requests whose path has ``path`` in it: to the next ``times`` of them, or to all (None).

    - ``latency``: ``seconds`` pass before the request is looked at
    - ``slow``: the body comes at ``rate`` bytes a second
    - ``cut``: the connection ends in the middle of the body
    - ``error``: ``status`` with the XML of S3; ``missing``: the same with 404 NoSuchKey
    - ``truncated``: a well-formed answer, as if the object were shorter
    - ``corrupted``: one byte of the body is another
    - ``reset``: the connection is reset before the answer

    ``method`` None is any. ``at`` is the byte of the object where it is cut, truncated or corrupted: answers without
    that byte are left alone, and are none of ``times``; None is the middle of each answer. Answers whose length is not
    known beforehand are left alone too.
    """

    kind: Kind
    path: str = ""
    times: int | None = None
    method: str | None = "GET"
    seconds: float = 0.0
    rate: float = 2.0**20
    at: int | None = None
    status: int = 503

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"there is no fault {self.kind!r}; the kinds are {', '.join(get_args(Kind))}")

    def place(self, answer: Head) -> int | None:
        """The byte of the answer's body where this happens; None: it does not have that byte.

        An object that is truncated before the answer's first byte leaves none of it.
        """
        size = answer.length
        if not size or answer.status not in (200, 206):
            return None
        place = size // 2 if self.at is None else self.at - answer.start
        if self.kind == "truncated":
            place = max(place, 0)
        return place if 0 <= place < size else None


@dataclass
class Tally:
    """Requests, and the bytes of their bodies and of their answers' bodies."""

    count: int = 0
    received: int = 0
    sent: int = 0


@dataclass
class _Rule:
    fault: Fault
    done: int = 0


class Rules:
    """The faults to come and the requests so far. Any thread may ask and change them."""

    def __init__(self, *faults: Fault) -> None:
        self._rules = [_Rule(fault) for fault in faults]
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """Add rules. Of those of a kind that apply, the one that was added last does."""
        with self._lock:
            self._rules += [_Rule(fault) for fault in faults]

    def clear(self) -> None:
        """Take all rules away."""
        with self._lock:
            self._rules.clear()

    def take(self, kind: Kind, request: Head, answer: Head | None = None) -> Fault | None:
        """The fault of a kind that applies, which has then happened once more."""
        with self._lock:
            for rule in reversed(self._rules):
                fault = rule.fault
                if (
                    fault.kind == kind
                    and fault.path in request.path
                    and fault.method in (None, request.method)
                    and (fault.times is None or rule.done < fault.times)
                    and (answer is None or kind == "slow" or fault.place(answer) is not None)
                ):
                    rule.done += 1
                    return fault
        return None

    @property
    def happened(self) -> Counter[str]:
        """How often each kind of fault happened, under the rules that are there."""
        with self._lock:
            return sum((Counter({rule.fault.kind: rule.done}) for rule in self._rules), Counter[str]())

    def arrived(self, request: Head) -> Tally:
        """Count a request; whoever serves it adds the bytes."""
        with self._lock:
            tally = self._tallies.setdefault((request.method, request.path), Tally())
            tally.count += 1
            return tally

    @property
    def requests(self) -> dict[tuple[str, str], Tally]:
        """What was seen, by (method, path)."""
        with self._lock:
            return {key: replace(tally) for key, tally in self._tallies.items()}

    def total(self, method: str | None = None, path: str = "") -> Tally:
        """The sum over the requests of a method (None: any) whose path has ``path`` in it."""
        found = [t for (verb, name), t in self.requests.items() if method in (None, verb) and path in name]
        return Tally(sum(t.count for t in found), sum(t.received for t in found), sum(t.sent for t in found))

    def forget(self) -> None:
        """Count from 0 again."""
        with self._lock:
            self._tallies.clear()
