"""Ctrl-C and SIGTERM: an orderly end at a moment when the state can be saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption(KeyboardInterrupt):
    """The end of a training that a signal requested; ``note`` says what was saved."""

    def __init__(self, signum: int = signal.SIGINT, note: str = "") -> None:
        super().__init__(note)
        self.signum, self.note = signum, note


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block both signals raise ``Interruption`` at once."""
    with _handling(_raise):
        yield


class Latch:
    """Within the block a first signal only sets ``signum``, so that the work can end at a good moment; a second one raises at once.

    If a first signal is still unanswered at the end of the block, ``Interruption`` is raised there.
    """

    def __init__(self) -> None:
        self.signum = 0

    def __enter__(self) -> Latch:
        self._handling = _handling(self._note)
        self._handling.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._handling.__exit__(None, None, None)
        if self.signum and kind is None:
            raise Interruption(self.signum)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum:
            raise Interruption(signum)
        self.signum = signum


def _raise(signum: int, frame: FrameType | None) -> None:
    raise Interruption(signum)


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Use ``handler`` for both signals within the block; outside the main thread Python allows no handlers, and nothing changes.

    A signal whose handler Python does not know is left alone, since it could not be put back: another library's, or any when Python
    ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS if signal.getsignal(number) is not None}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
