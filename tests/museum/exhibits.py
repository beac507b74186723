"""All bugs of the museum, in the order of the catalogue."""

from __future__ import annotations

from museum import engine, estimates, losses, training

BUGS = tuple(sorted((*losses.BUGS, *estimates.BUGS, *training.BUGS, *engine.BUGS), key=lambda bug: bug.group))
