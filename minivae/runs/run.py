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

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from minivae import datasets
from minivae.checks import DataFileError, check_flag, check_regular, reason, reject
from minivae.datasets import Dataset
from minivae.models import Model, load
from minivae.runs.source import SOURCE, Source
from minivae.runs.tables import figure_rows
from minivae.training.schema import Schema, anything, compare, each, maybe, number, text, whole

MODEL, CONFIG, HISTORY, CHECKPOINT = "model.safetensors", "config.json", "history.csv", "checkpoint.safetensors"
CONFIG_BYTES = 2**24  # bytes at most; a real one has a few thousand


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
}
RUN_STATE: Schema = {"model": text, "context": {"data": SOURCE}}


class Draft:
    """A run directory that is being written: a hidden folder, which gets its final name when everything is in it.

    To be used as a context manager.  Creating it shows, before any training, that the place can be written.  When the block ends
    normally, the folder is renamed to ``path``.  When it raises, the folder is removed with the parents that were made for it.
    ``publish`` gives it the final name earlier, once it holds a state to resume from; from then on it stays in any case.

    Parameters
    ----------
    runs_dir : the folder of all runs, made if missing.
    stem : the run is called ``stem-1``, ``stem-2``, … (the first number that is free), unless it has a name.
    name : the name of the run, which must be free.
    path : the folder of a run that was published before it was finished; stem and name are then ignored.

    Raises ``InputError`` for a name that is taken or not plain, ``DataFileError`` for a place that cannot be written.
    """

    def __init__(self, runs_dir: str | os.PathLike[str], stem: str, name: str | None = None, path: Path | None = None) -> None:
        self.runs_dir, self.stem, self.name, self.path = Path(os.path.normpath(runs_dir)), stem, name, path
        if path is not None:
            self.folder = path
            return
        if name is not None:
            if not name or Path(name).name != name or name.startswith("."):
                reject("--name", "a plain folder name", repr(name), "choose the folder's place with --runs-dir")
            if (self.runs_dir / name).exists():
                self._refuse_taken(self.runs_dir / name)
        self._made = [folder for folder in (self.runs_dir, *self.runs_dir.parents) if not folder.exists()]
        self.folder = self.runs_dir / f".{name or stem}.{secrets.token_hex(4)}"
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            self._discard()
            mend = "choose another folder with --runs-dir"
            reject(f"--runs-dir {self.runs_dir}", "a folder that can be written", error.strerror, mend, DataFileError)

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.publish()
        finally:
            if self.path is None:
                self._discard()

    def publish(self) -> None:
        """Give the folder its name, once."""
        if self.path is None:
            self.path = self.folder = self._rename()

    def _rename(self) -> Path:
        """Rename the folder to its final name.  Renaming onto a folder with files in it fails, so no run is overwritten."""
        names = [self.name] if self.name else (f"{self.stem}-{i}" for i in itertools.count(1))
        for path in (self.runs_dir / name for name in names):
            if not path.exists():
                try:
                    return self.folder.rename(path)
                except OSError as error:
                    if not path.exists():
                        reject(str(path), "a folder that can be written", error.strerror, error=DataFileError)
        self._refuse_taken(path)

    def _refuse_taken(self, path: Path) -> NoReturn:
        reject("--name", "a name that no run has yet", f"{path}, which exists", "choose another, or remove that run")

    def _discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in self._made:
            with contextlib.suppress(OSError):  # it does not exist, or holds files of someone else
                folder.rmdir()


class Run:
    """A finished run directory.

    Parameters
    ----------
    name : its path, or its name within ``runs_dir``.

    Attributes
    ----------
    path : the folder; config : what ``config.json`` says.

    Raises ``DataFileError`` when it is missing or damaged.
    """

    def __init__(self, name: str, runs_dir: str | os.PathLike[str] = "runs") -> None:
        places = (Path(name), Path(runs_dir) / name)
        self.path = next((place for place in places if (place / MODEL).is_file()), places[0])
        if not (self.path / MODEL).is_file():
            stopped = [place for place in places if (place / CHECKPOINT).is_file()]
            if stopped:
                mend = f"go on with minivae train --resume {stopped[0]}"
                reject("RUN", "a finished run", f"{str(stopped[0])!r}, whose training was stopped", mend, DataFileError)
            expected = f"a run directory (with {MODEL} in it), or the name of one in {runs_dir}"
            reject("RUN", expected, repr(name), "minivae runs lists them, minivae train makes one", DataFileError)
        self.config: dict[str, Any] = _read_config(self.path / CONFIG)
        self.source = Source.of(self.config["data"])

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
        return datasets.load(self.source.source, data_dir or self.source.data_dir)


def begun(name: str, runs_dir: str | os.PathLike[str] = "runs") -> Path:
    """Return the folder of a run, given by its path or its name, that has the state of its training."""
    places = (Path(name), Path(runs_dir) / name)
    for place in places:
        if (place / CHECKPOINT).is_file():
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
    """Return strict JSON, in which numbers that are not finite become null, since JSON has no word for them."""
    return json.dumps(_finite(record), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value
