"""A signal is a wish until the step has ended; a second one is what it always was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from tests.training.stepping import ALONE
from training.interruption import SIGNALS, Interruption


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_kept_until_it_is_asked_for(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert not interruption.wanted(ALONE)
        signal.raise_signal(number)
        assert interruption.wanted(ALONE)
        assert interruption.wanted(ALONE)
    assert signal.getsignal(number) is before


@pytest.fixture
def default_handler() -> Iterator[None]:
    """As a program begins; a library may have left another."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_is_as_ever(default_handler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # as a launcher hands it on to one who has it already
        monkeypatch.setattr("training.interruption.ECHO_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interruption.wanted(ALONE)


def test_what_was_there_is_put_back_after_an_error() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(OSError, match="gone"), Interruption():
        raise OSError("gone")
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_signals_of_a_thread_are_anothers_business() -> None:
    before, seen = [signal.getsignal(number) for number in SIGNALS], []

    def loop() -> None:
        with Interruption() as interruption:
            seen.append([signal.getsignal(number) for number in SIGNALS])
            seen.append([interruption.wanted(ALONE)])

    thread = threading.Thread(target=loop)
    thread.start()
    thread.join()
    assert seen == [before, [False]]
