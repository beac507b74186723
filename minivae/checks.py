"""Checks of inputs, and the exceptions that say what was wrong with one.

Every message has the same four parts, because whoever has to fix the problem needs all of them: the *argument*, what was
*expected*, what was *given*, and the *fix*.  ``reject`` puts them together; no other function writes such a message.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

import numpy as np


class MinivaeError(Exception):
    """Base of every exception that this package raises on purpose."""


class InputError(MinivaeError, ValueError):
    """An argument, a setting or an array that cannot be used as it is."""


class DataFileError(MinivaeError, OSError):
    """A file that cannot be read or written: missing, truncated, corrupted, of another kind, or in a place without access."""


class DeviceError(MinivaeError, RuntimeError):
    """A device that was asked for but is not available."""


class NotFittedError(MinivaeError, AttributeError, ValueError):
    """A model that was used before ``fit`` or ``load`` gave it parameters."""


class NonFiniteError(MinivaeError, FloatingPointError):
    """A loss or gradient that stopped being a finite number during training."""


class GradcheckError(MinivaeError, AssertionError):
    """A gradient check that did not pass."""


class WrongGradientError(GradcheckError):
    """Backward and finite differences disagree by more than the tolerance and the uncertainty of the difference."""


class BlindCheckError(GradcheckError):
    """A gradient check that could not have failed, so that passing would mean nothing."""


class MinivaeWarning(UserWarning):
    """Base of every warning: the result can be used, but is probably not what was meant."""


class DeadCodeWarning(MinivaeWarning):
    """A trained model whose code says nothing about x, so that all examples are rebuilt as nearly the same one."""


class SlowStepsWarning(MinivaeWarning):
    """Training steps that take many times as long as they could."""


LENGTH = 1000  # at most, of the parts of a message that come from elsewhere


def reject(argument: str, expected: str, got: Any, mend: str = "", error: type[MinivaeError] = InputError) -> NoReturn:
    """Raise ``error`` with the one-line message "argument: expected …, got …; mend"."""
    message = f"{argument[:LENGTH]}: expected {expected}, got {str(got)[:LENGTH]}"
    raise error(one_line(f"{message}; {mend}" if mend else message))


def one_line(text: str) -> str:
    """Return a text from elsewhere with everything escaped that would break the line or control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str) -> str:
    """Return a text as one word of a shell's command line, in which what a terminal cannot show is escaped."""
    if text.isprintable():
        return shlex.quote(text)
    # Bash and zsh read $'\xe9' as that byte, which need not be part of any letter.
    words = (c if c.isprintable() and c not in "'\\" else "".join(f"\\x{byte:02x}" for byte in os.fsencode(c)) for c in text)
    return f"$'{''.join(words)}'"


def installing(extra: str) -> str:
    """Return the command that installs an extra of this package: from its checkout, since no package index has it."""
    root = Path(__file__).parents[1]
    if (root / "setup.cfg").is_file():
        return f"pip install -e {quoted(f'{root}[{extra}]')}"
    return f"pip install -e '.[{extra}]' in the checkout of minivae"


def check_choice(argument: str, value: Any, choices: Collection[str], mend: str = "") -> str:
    """Return ``value`` if it is one of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        reject(argument, "one of " + ", ".join(choices), repr(value), mend)
    return value


def check_path(argument: str, value: Any, expected: str = "a path") -> str:
    """Return ``value`` as the text of a path, if it is one that a file can have."""
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path or "\0" in path or any("\ud800" <= c < "\udc80" for c in path):
        reject(argument, expected, repr(value))
    return path


def is_there(path: str | os.PathLike[str]) -> bool:
    """Return whether there is something of this name; raise ``DataFileError`` where that cannot be seen.

    ``pathlib`` would either raise errors of its own or call a file that may not be looked at a missing one.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        reject(str(path), "a place that can be looked at", reason(error), "check the path and its permissions", DataFileError)
    return True


def check_regular(path: str | os.PathLike[str], mend: str = "choose another name") -> None:
    """Refuse what is there and is no file: a pipe would keep its reader waiting, and a device be replaced by its writer."""
    if is_there(path) and not os.path.isfile(path):
        reject(str(path), "a file", "a folder, a pipe or a device", mend, DataFileError)


def reason(error: BaseException) -> str:
    """Return in a few words why something failed: this package's, the system's, or the kind of error and its first line."""
    if isinstance(error, MinivaeError):
        return str(error)
    words = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return words.partition("\n")[0].removesuffix(": ")


def check_int(argument: str, value: Any, low: int, high: int | None = None, mend: str = "") -> int:
    """Return ``value`` as an int if it is a whole number in [low, high]."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))
    if not whole or value < low or (high is not None and value > high):
        reject(argument, f"a whole number {_interval(low, high)}", repr(value), mend)
    return int(value)


MOST_REPEATS = 10**7


def check_repeats(argument: str, value: Any, low: int = 1) -> int:
    """Return ``value`` if it is a number of samples, steps, points or bins that somebody might wait for."""
    return check_int(argument, value, low, MOST_REPEATS)


def check_memory(argument: str, size: float, mend: str) -> None:
    """Refuse what takes more bytes than this machine has; asking the system for them could end the process without a word."""
    try:
        most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on this system
        return
    if size > most:
        reject(argument, f"what fits in the {most / 2**30:.1f} GiB of this machine", f"{size / 2**30:.3g} GiB", mend)


def check_flag(argument: str, value: Any) -> bool:
    """Return ``value`` as a bool if it is one."""
    if not isinstance(value, (bool, np.bool_)):
        reject(argument, "True or False", repr(value)[:80])
    return bool(value)


LARGEST = sys.float_info.max


def check_real(argument: str, value: Any, low: float = -math.inf, high: float = math.inf, open_low: bool = False) -> float:
    """Return ``value`` as a float if it is finite and in [low, high]; ``open_low`` excludes ``low`` itself."""
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    number = value.item() if isinstance(value, np.generic) else value  # float32 has no LARGEST to compare with
    if not real or abs(number) > LARGEST or number != number or number < low or number > high or (open_low and number == low):
        bound = f"above {low:g}" if open_low else _interval(low, high)
        reject(argument, f"a finite number {bound}".strip(), repr(value))
    return float(value)


def _interval(low: float, high: float | None) -> str:
    if high is None or high == math.inf:
        return "" if low == -math.inf else f"of at least {_exactly(low)}"
    return f"from {_exactly(low)} to {_exactly(high)}"


def _exactly(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def check_matrix(argument: str, array: Any, n_features: int | None = None) -> None:
    """Refuse anything but a real, non-empty (n, d) array; ``check_values`` looks at its values."""
    kind = getattr(getattr(array, "dtype", None), "kind", None)  # other libraries' arrays have a dtype, but without a kind
    if kind is None or not hasattr(array, "shape"):
        reject(argument, "an array of shape (n, d)", type(array).__name__, "pass a NumPy or CuPy array")
    if kind not in "fiub":
        reject(argument, "real numbers", f"dtype {array.dtype}", "convert it to float32")
    if array.ndim != 2:
        mend = "flatten each example with x.reshape(len(x), -1)" if array.ndim > 2 else "pass x.reshape(1, -1) for one example"
        reject(argument, "shape (n, d)", f"shape {tuple(array.shape)}", mend)
    if 0 in array.shape:
        reject(argument, "at least one example and one feature", f"shape {tuple(array.shape)}")
    if n_features is not None and array.shape[1] != n_features:
        reject(argument, f"{n_features} features, as the model was fitted with", f"{array.shape[1]}")


def check_values(argument: str, rows: Any, unit_interval: bool = False, first_row: Any = 0) -> None:
    """Refuse NaN and ±inf, and with ``unit_interval`` also numbers outside [0, 1].

    ``rows`` is one chunk of a data set that may be larger than memory; ``first_row`` is where it starts, for the message, or
    the numbers of all its rows.
    """
    if rows.dtype.kind == "f":
        low, high = rows.min(), rows.max()  # a NaN anywhere makes both NaN, an infinity shows as itself: no (n, d) temporary
        if not (math.isfinite(low) and math.isfinite(high)):
            row, column = (int(i[0]) for i in (~np.isfinite(np.asarray(_on_host(rows)))).nonzero())
            number = first_row + row if isinstance(first_row, int) else int(first_row[row])
            where = f"{rows[row, column]} at row {number}, column {column}"
            reject(argument, "finite numbers", where, "remove or impute missing values (NaN) and infinite ones (inf)")
    if unit_interval and rows.dtype != np.uint8:  # a uint8 is read as a pixel value over 255: always in [0, 1]
        low, high = float(rows.min()), float(rows.max())
        slack = 4 * float(np.finfo(rows.dtype).eps) if rows.dtype.kind == "f" else 0.0  # a scaler's 1.0000000000000002 is its 1
        if low < -slack or high > 1 + slack:
            mend = "scale the data (divide 8-bit pixels by 255) or choose likelihood='gaussian'"
            reject(argument, "values in [0, 1] for a Bernoulli likelihood", f"values from {low:g} to {high:g}", mend)


def _on_host(array: Any) -> Any:
    return array.get() if hasattr(array, "get") else array
