"""All bugs of the museum, in the order of the catalogue."""

from __future__ import annotations

from museum import beyond, engine, estimates, losses, sampling, surgery, training

BUGS = tuple(
    sorted(
        (*sampling.BUGS, *losses.BUGS, *estimates.BUGS, *surgery.BUGS, *training.BUGS, *engine.BUGS, *beyond.BUGS),
        key=lambda bug: bug.group,
    )
)
