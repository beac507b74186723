"""Signals within one process: at which moment Ctrl-C and SIGTERM end the work, and whose handlers are there afterwards."""

from __future__ import annotations

import signal
import threading

import pytest

from minivae.training.interruption import SIGNALS, Interruption, Latch, interruptible


@pytest.fixture(autouse=True)
def noted():
    """Put in a caller's handlers, which note what reaches them; after each test they have to be in place again."""
    reached: list[int] = []

    def note(signum, frame):
        reached.append(signum)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    yield reached
    after = {signal.signal(number, handler) for number, handler in before.items()}
    assert after == {note}


def interrupted(block, *signals) -> tuple[int, int | None]:
    """Send signals within a block; return how many statements of it were begun, and the signal that the error names, if any."""
    begun = 0
    try:
        with block:
            for number in signals:
                begun += 1
                signal.raise_signal(number)
            begun += 1
    except Interruption as error:
        return begun, error.signum
    return begun, None


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_at_once(number, noted):
    assert interrupted(interruptible(), number) == (1, number)
    assert not noted


def test_a_latch_waits_for_the_end_of_the_block():
    latch = Latch()
    assert interrupted(latch, signal.SIGTERM) == (2, signal.SIGTERM)
    assert latch.signum == signal.SIGTERM


def test_a_second_signal_does_not_wait():
    assert interrupted(Latch(), signal.SIGTERM, signal.SIGINT) == (2, signal.SIGINT)


def test_an_error_in_the_block_is_not_hidden_by_the_signal():
    def work():
        with Latch():
            signal.raise_signal(signal.SIGINT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_without_a_signal_nothing_is_raised(noted):
    assert interrupted(Latch()) == interrupted(interruptible()) == (1, None)
    signal.raise_signal(signal.SIGINT)
    assert noted == [signal.SIGINT]


def test_another_thread_can_train_too():
    """Python lets only the main thread set handlers, so elsewhere a latch never hears of a signal."""
    ends = []
    thread = threading.Thread(target=lambda: ends.extend((interrupted(Latch()), interrupted(interruptible()))))
    thread.start()
    thread.join()
    assert ends == [(1, None), (1, None)]


def test_a_latch_can_be_named_where_its_block_begins():
    with Latch() as latch:
        assert latch.signum == 0


def test_an_interruption_says_what_was_saved():
    assert str(Interruption(signal.SIGTERM, "step 3 is saved")) == "step 3 is saved"
