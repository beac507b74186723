"""The run directory: what a training writes, and how it is read again.

| file | holds |
|---|---|
| ``model.safetensors`` | the weights, and the settings to rebuild the model around them |
| ``config.json`` | model, settings, data, command, versions, and the final figures |
| ``history.csv`` | one row per epoch |
| ``*.png`` | pictures |
| ``checkpoint.safetensors`` | the state of the training, to go on from |
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Any

from minivae import datasets
from minivae.checks import DataFileError, check_flag, check_regular, is_there, reason, reject
from minivae.datasets import Dataset
from minivae.models import Model, load
from minivae.runs.source import SOURCE, Source
from minivae.runs.tables import figure_rows
from minivae.training.schema import Schema, anything, compare, each, maybe, number, one_of, text, whole

MODEL, CONFIG, HISTORY, CHECKPOINT = "model.safetensors", "config.json", "history.csv", "checkpoint.safetensors"
CONFIG_BYTES = 2**24  # bytes at most; a real one has a few thousand
EXPERIMENTS = Path(__file__).parents[2] / "benchmarks" / "results" / "weights"  # runs that repeat published ones, in a checkout


def _figures(name: str, value: Any) -> None:
    """Each figure is a number, or several, or null where it was not finite."""
    compare(name, value, {"conditional": check_flag})
    for key, figure in value.items():
        if key != "conditional":
            compare(f"{name}.{key}", figure, [number()] if isinstance(figure, list) else maybe(number()))


CONFIG_SCHEMA: Schema = {
    "model": text,
    "settings": each(anything),
    "data": SOURCE | {"name": text, "n_train": whole(1), "n_test": whole(1)},
    "command": [text],
    "versions": each(text),
    "figures": _figures,
    "experiment?": {
        "source": text,
        "published": text,
        "measure": one_of("NLL", "test loss"),
        "trained": number(),
        "standard_error": number(),
        "rounding": number(),
        "n_samples": whole(1),
    },
}
RUN_STATE: Schema = {"model": text, "context": {"data": SOURCE}}


class Run:
    """A finished run directory.

    Parameters
    ----------
    name : its path, its name within ``runs_dir``, or that of a published experiment whose repetition came with the checkout.

    Attributes
    ----------
    path : the folder; config : what ``config.json`` says.

    Raises ``DataFileError`` when it is missing or damaged.
    """

    def __init__(self, name: str, runs_dir: str | os.PathLike[str] = "runs") -> None:
        places = (Path(name), Path(runs_dir) / name, EXPERIMENTS / name)
        self.path = next((place for place in places if is_there(place / MODEL)), places[0])
        if not is_there(self.path / MODEL):
            stopped = [place for place in places if is_there(place / CHECKPOINT)]
            if stopped:
                mend = f"go on with minivae train --resume {stopped[0]}"
                reject("RUN", "a finished run", f"{str(stopped[0])!r}, whose training was stopped", mend, DataFileError)
            known = ", ".join(experiments()) or "whose weights come with a checkout of minivae, and not here"
            expected = f"a run directory (with {MODEL} in it), the name of one in {runs_dir}, or a published experiment ({known})"
            reject("RUN", expected, repr(name), "minivae runs lists them, minivae train makes one", DataFileError)
        self.config: dict[str, Any] = _read_config(self.path / CONFIG)
        self.source = Source.of(self.config["data"])

    def place(self, name: str) -> Path:
        """Return where a file about this run belongs: in it, or for an experiment from the checkout, in the current folder."""
        return Path(f"{self.path.name}-{name}") if self.path.parent == EXPERIMENTS else self.path / name

    def model(self, device: str = "auto") -> Model:
        """Return the trained model."""
        return load(self.path / MODEL, device)

    def data(self, source: str | None = None, data_dir: str | None = None) -> tuple[Dataset, Dataset]:
        """Return (train, test) of the data it was trained on, or of others."""
        if source:
            return datasets.load(source, data_dir)
        return dataclasses.replace(self.source, data_dir=data_dir or self.source.data_dir).load()

    def everything(self, data_dir: str | None = None) -> tuple[Dataset, Dataset]:
        """Return (train, test) of its data with the classes that it was not trained on, and all labels."""
        return dataclasses.replace(self.source, exclude_class=(), labels=None, data_dir=data_dir or self.source.data_dir).load()


def experiments() -> list[str]:
    """Return the names of the published experiments that were repeated and whose weights are here."""
    return sorted(path.parent.name for path in EXPERIMENTS.glob(f"*/{MODEL}"))


def begun(name: str, runs_dir: str | os.PathLike[str] = "runs") -> Path:
    """Return the folder of a run, given by its path or its name, that has the state of its training."""
    places = (Path(name), Path(runs_dir) / name)
    for place in places:
        if is_there(place / CHECKPOINT):
            return place
    expected = f"a run directory (with {CHECKPOINT} in it), or the name of one in {runs_dir}"
    reject("--resume", expected, repr(name), "see which there are with minivae runs", DataFileError)


def _read_config(path: Path) -> Any:
    """Return the contents of a ``config.json``, after checking that everything needed is in it."""
    check_regular(path)
    try:
        if os.path.getsize(path) > CONFIG_BYTES:
            reject("size", f"at most {CONFIG_BYTES} bytes", os.path.getsize(path))
        config = json.loads(path.read_text(encoding="utf-8"))
        compare("config", config, CONFIG_SCHEMA)
        list(figure_rows(config["figures"]))  # where one of these is present, the others that are printed with it must be too
        return config
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        reject(str(path), "the settings of a run as JSON", reason(error), "train again", DataFileError)


def history_csv(history: dict[str, list[Any]]) -> bytes:
    """Return a history as CSV, one row per epoch; a list per epoch becomes a column per entry, ``name_0``, ``name_1``, …"""
    columns: dict[str, Any] = {}
    for name, values in history.items():
        if isinstance(values[0], list):
            columns |= {f"{name}_{i}": column for i, column in enumerate(zip(*values))}
        else:
            columns[name] = values
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values()))
    return text.getvalue().encode()


def as_json(record: Any, indent: int | None = None) -> str:
    """Return strict JSON in ASCII, which any stream takes: numbers that are not finite, which it has no word for, become null."""
    return json.dumps(_finite(record), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value
