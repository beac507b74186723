"""The minutes that a benchmark may take: what fails, or takes too long, is named and costs only itself."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

from benchmarks import timing
from benchmarks.report import say

MOST = 90.0  # seconds that one part may take: a peer that compiles for minutes must not cost all the others


class Budget:
    """Runs the parts of a benchmark, each in a process of its own, until its ``minutes`` are over."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes
        self.missing: list[str] = []

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return max(0.0, self._end - time.monotonic())

    def measure(self, what: str, function: Callable[..., Any], *args: Any) -> Any:
        """Return what a module's function returns in a fresh process, or None if it fails or takes too long, after printing why."""
        limit = min(self.left, MOST)
        if not limit:
            self.leave_out(what, "no time was left")
            return None
        try:
            made = timing.in_child(function, *args, timeout=limit)
            say(f"{what}: {made.seconds:.0f} s")
            return made.value
        except subprocess.TimeoutExpired:
            self.leave_out(what, f"stopped after {limit:.0f} s")
        except SystemExit:  # the process has said why
            self.leave_out(what, "failed, see above")
        return None

    def attempt(self, what: str, part: Callable[..., None], *args: Any) -> None:
        """Do a part of the benchmark in this process: an error in its tables or plots is named, and costs no other part."""
        try:
            part(*args)
        except Exception as error:
            self.leave_out(what, f"{type(error).__name__}: {error}")

    def leave_out(self, what: str, reason: str) -> None:
        """Take note of something that could not be measured."""
        self.missing.append(f"{what}: {reason}")
        say(self.missing[-1])
