"""What a training with a bug in it shows: the figures it reports, the true ones, and its samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minivae.pages.charts import number, picture
from minivae.pages.markup import Markup, tag


def symptom(record: dict[str, Any] | None, right: dict[str, Any] | None) -> Markup | None:
    """Return what a training with a bug showed, beside one with the right code; None where none was run."""
    if not record or not right:
        return None
    lead = tag("b", "In a training. ")
    if "stopped" in record:
        return tag("p", lead, "It stops: ", tag("code", record["stopped"]))
    if "true" not in record:
        return tag("p", lead, "It leaves no trace in the training of a plain VAE: the weights are the same to the last bit.")
    said = (
        f"It reports an ELBO of {_nats(record['reported'])} nats; of the same weights the right code says {_nats(record['true'])}."
    )
    beside = f" Without the bug: {_nats(right['true'])}. KL {_nats(record['kl'])} instead of {_nats(right['kl'])} nats, "
    units = f"{record['active']} of {record['latents']} units active."
    pictures = {"samples with it": record["pictures"], "without": right["pictures"]}
    rows = (tag("tr", tag("th", name, scope="row"), _cells(name, shown)) for name, shown in pictures.items() if shown)
    strip = tag("div", tag("table", tag("tbody", rows), class_="strip"), class_="scroll", tabindex="0")
    return tag("div", tag("p", lead, said, beside, units), strip)


def _nats(value: float | None) -> str:
    return "not a number" if value is None or math.isnan(value) else number(value)


def _cells(name: str, pictures: list[list[float]]) -> Iterator[Markup]:
    for i, pixels in enumerate(pictures, 1):
        side = round(math.sqrt(len(pixels)))
        yield tag("td", picture(np.array(pixels), (side, side), (0.0, 1.0), f"{name}, {i}"))
