"""All bugs of the museum, in the order of the catalogue."""

from __future__ import annotations

from museum import accepted, beyond, engine, estimates, losses, sampling, surgery, training

ROOMS = (sampling, losses, estimates, surgery, training, engine, beyond, accepted)
BUGS = tuple(sorted((bug for room in ROOMS for bug in room.BUGS), key=lambda bug: bug.group))
