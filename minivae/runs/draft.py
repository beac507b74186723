"""A run directory in the making: one training's own, seen by others when there is something in it, and no leftovers."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from minivae.checks import DataFileError, check_path, is_there, reason, reject
from minivae.training.checkpoint import LEFTOVER, beside

LONGEST = 60  # letters of a run's name that come from the data's


class Draft:
    """A run directory in the making, which no other training can use meanwhile.

    Used as a context manager.  Making it is the proof that the place can be written, before any training.  It begins as a hidden
    folder beside its future place and takes its name by ``publish``, when there is something in it to go on from.  When the block
    raises before there is anything ``worth`` keeping, the folder vanishes, and so do the parents that were made for it.

    Parameters
    ----------
    runs_dir : the folder of all runs, made if missing.
    stem : the run is called ``stem-1``, ``stem-2``, … (the first number that is free), unless it has
    name : a name of its own, which must be free.
    path : the folder of a run that goes on; stem and name are of no use then.

    Raises ``InputError`` for a name that is taken or not plain, ``DataFileError`` for a place that cannot be written, or where
    another process is at work.
    """

    def __init__(self, runs_dir: str | os.PathLike[str], stem: str, name: str | None = None, path: Path | None = None) -> None:
        self.runs_dir, self.stem, self.name, self.path = Path(os.path.normpath(runs_dir)), stem[:LONGEST], name, path
        self.worth = path is not None
        self._made: list[Path] = []
        if path is not None:
            self.folder, self._lock = path, lock(path)
            clear_leftovers(path, own=True)
            return
        if name is not None:
            check_path("--name", name)
            if Path(name).name != name or name.startswith(".") or len(os.fsencode(name)) > 255:
                mend = "choose the folder's place with --runs-dir"
                reject("--name", "a plain folder name of at most 255 bytes", repr(name), mend)
            if is_there(self.runs_dir / name):
                self._refuse_taken(self.runs_dir / name)
        clear_leftovers(self.runs_dir)
        self._made = [folder for folder in (self.runs_dir, *self.runs_dir.parents) if not os.path.exists(folder)]
        self.folder = beside(self.runs_dir / (name or stem))
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            self._discard()
            mend = "choose another folder with --runs-dir"
            reject(f"--runs-dir {self.runs_dir}", "a folder that can be written", reason(error), mend, DataFileError)
        self._lock = lock(self.folder)

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.publish()
                self.worth = True
        finally:
            if not self.worth:
                self._discard()
            self._lock.close()

    def publish(self) -> None:
        """Give the folder its name, once."""
        if self.path is None:
            self.path = self.folder = self._rename()

    def _rename(self) -> Path:
        """Rename the folder to its final name.  A folder with something in it cannot be renamed over, so none is overwritten."""
        names = [self.name] if self.name else (f"{self.stem}-{i}" for i in itertools.count(1))
        for path in (self.runs_dir / name for name in names):
            if not is_there(path):
                try:
                    return self.folder.rename(path)
                except OSError as error:
                    if not is_there(path):
                        reject(str(path), "a folder that can be written", reason(error), error=DataFileError)
        self._refuse_taken(path)

    def _refuse_taken(self, path: Path) -> NoReturn:
        reject("--name", "a name that no run has yet", f"{path}, which exists", "choose another, or remove that run")

    def _discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in self._made:
            with contextlib.suppress(OSError):  # it was not made after all, or someone else has put something in it
                folder.rmdir()


def lock(folder: Path) -> contextlib.ExitStack:
    """Keep other trainings out of a folder until what is returned is closed, or this process ends in whatever way.

    The lock is on the folder itself, so it leaves no file behind and goes along when the folder is renamed.  Where a system has no
    such locks (Windows, some network file systems) there is none.
    """
    held = contextlib.ExitStack()
    try:
        import fcntl

        place = os.open(folder, os.O_RDONLY)
        held.callback(os.close, place)
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        mend = "wait until it has ended, or stop it"
        reject(str(folder), "a run that no other process is training", "one that is being trained now", mend, DataFileError)
    except (ImportError, OSError):
        pass
    return held


def clear_leftovers(folder: Path, own: bool = False) -> None:
    """Remove what killed processes have left in a folder: runs that had not begun, and in a run of one's ``own`` files."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                if re.fullmatch(LEFTOVER, path.name) and path.is_dir():
                    with lock(path):  # which fails where the process is alive
                        shutil.rmtree(path)
                elif re.fullmatch(LEFTOVER, path.name) and own:
                    path.unlink()
