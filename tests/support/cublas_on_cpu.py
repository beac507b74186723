"""The entry points of cublasLt: column-major products, done by NumPy on the memory that the pointers name.

What cublasLt is told before a product is kept in dictionaries; a handle is the number of one.  A product has to be the one that the
heuristics were asked about, with the algorithm they gave for it, and with pointers as well aligned as they were promised.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from support import strict_cupy

TRANSA, TRANSB, EPILOGUE, BIAS_POINTER = 3, 4, 7, 8
MAX_WORKSPACE, SPLITS, ALIGNMENTS = 1, 3, (5, 6, 7, 8)  # SPLITS: the ways in which sums may be split
DEFAULT, RELU, BIAS = 1, 2, 4
BYTES = {  # of each attribute: cublasLt refuses others
    "operation": {TRANSA: 4, TRANSB: 4, EPILOGUE: 4, BIAS_POINTER: 8},
    "preference": {MAX_WORKSPACE: 8, SPLITS: 4, **dict.fromkeys(ALIGNMENTS, 4)},
}


class FakeCublas:
    """A library to be loaded in place of libcublasLt.

    Attributes
    ----------
    products : what was computed: (rows, columns, terms, compute type, epilogue, stream, workspace), in cublasLt's view.
    questions : that the heuristics were asked; the algorithm they give is the number of the question.
    """

    def __init__(self) -> None:
        self.products: list[tuple[Any, ...]] = []
        self.questions: list[tuple[Any, ...]] = []
        self._made: list[tuple[str, dict[Any, Any]]] = []

    def _make(self, what: str, handle: Any, told: dict[Any, Any]) -> int:
        self._made.append((what, told))
        handle._obj.value = len(self._made)
        return 0

    def _told(self, what: str, handle: Any) -> dict[Any, Any]:
        made, told = self._made[handle.value - 1]
        assert made == what, f"{what} expected, got {made}"
        return told

    def _set(self, what: str, handle: Any, attribute: int, value: Any, size: Any) -> int:
        assert size.value == BYTES[what][attribute]
        self._told(what, handle)[attribute] = value._obj.value
        return 0

    def cublasLtCreate(self, handle: Any) -> int:
        return self._make("library", handle, {})

    def cublasLtMatmulDescCreate(self, handle: Any, compute: int, scale: int) -> int:
        assert scale == 0
        return self._make("operation", handle, {"compute": compute, TRANSA: 0, TRANSB: 0, EPILOGUE: DEFAULT, BIAS_POINTER: None})

    def cublasLtMatmulDescSetAttribute(self, *arguments: Any) -> int:
        return self._set("operation", *arguments)

    def cublasLtMatmulPreferenceCreate(self, handle: Any) -> int:
        return self._make("preference", handle, {MAX_WORKSPACE: 0, SPLITS: 7, **dict.fromkeys(ALIGNMENTS, 256)})

    def cublasLtMatmulPreferenceSetAttribute(self, *arguments: Any) -> int:
        return self._set("preference", *arguments)

    def cublasLtMatrixLayoutCreate(self, handle: Any, kind: int, rows: Any, columns: Any, lead: Any) -> int:
        assert kind == 0
        assert lead.value >= rows.value, "the leading dimension of a column-major matrix is at least its number of rows"
        return self._make("matrix", handle, {"rows": rows.value, "columns": columns.value, "lead": lead.value})

    def cublasLtMatmulAlgoGetHeuristic(self, library, operation, a, b, c, d, preference, wanted, answers, count) -> int:
        self._told("library", library)
        assert ctypes.sizeof(answers) == 96 * wanted
        liked, bias = self._told("preference", preference), self._told("operation", operation)[BIAS_POINTER]
        promised = [liked[name] for name in ALIGNMENTS]
        question, promised = self._question(operation, a, b, c, d), (*promised, _alignment(bias))
        self.questions.append((question, promised, liked[MAX_WORKSPACE], liked[SPLITS]))
        answers[0], count._obj.value = len(self.questions), 1
        return 0

    def _question(self, operation: Any, *matrices: Any) -> list[dict[Any, Any]]:
        told = self._told("operation", operation) | {BIAS_POINTER: None}  # which may change from product to product
        return [told, *(self._told("matrix", layout).copy() for layout in matrices)]

    def cublasLtMatmul(
        self, library, operation, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algorithm, work, size, stream
    ) -> int:
        self._told("library", library)
        told, layouts, pointers = self._told("operation", operation), (a_layout, b_layout, c_layout, d_layout), (a, b, c, d)
        epilogue, bias = told[EPILOGUE], told[BIAS_POINTER]
        question, promised, most, splits = self.questions[algorithm[0] - 1]
        assert question == self._question(operation, *layouts), "the algorithm was chosen for another product"
        for address, alignment in zip((*(pointer.value for pointer in pointers), bias), promised, strict=True):
            assert _alignment(address) >= alignment, "the algorithm was chosen for memory that is better aligned"
        assert work.value
        assert size.value >= most, "the algorithm may need more memory"
        assert epilogue in (DEFAULT, RELU, BIAS, RELU | BIAS)
        assert not epilogue & BIAS or (bias or 0) > 256, "the bias has no address"

        left, right, before, after = (
            _matrix(pointer.value, **self._told("matrix", layout)) for pointer, layout in zip(pointers, layouts, strict=True)
        )
        left, right = left.T if told[TRANSA] else left, right.T if told[TRANSB] else right
        added = _matrix(bias, len(after), 1, len(after)) if epilogue & BIAS else 0
        self.products.append((*after.shape, left.shape[1], told["compute"], epilogue, stream.value or 0, work.value))

        def kernel() -> None:
            kept = beta._obj.value * before if beta._obj.value else 0
            after[...] = alpha._obj.value * (left @ right) + kept + added
            if epilogue & RELU:
                keeps_nan = told["compute"] == 68 and not splits  # as seen on a device
                largest = np.maximum if keeps_nan else np.fmax
                largest(after, 0, out=after)

        strict_cupy.run(kernel)
        return 0


def _alignment(address: int | None) -> int:
    """Return the largest power of two, up to 256, that divides an address."""
    return next(power for power in (256, 128, 64, 32, 16, 8, 4, 2, 1) if (address or 0) % power == 0)


def _matrix(address: int, rows: int, columns: int, lead: int) -> np.ndarray:
    numbers = (ctypes.c_float * (lead * (columns - 1) + rows)).from_address(address)
    return np.lib.stride_tricks.as_strided(np.frombuffer(numbers, np.float32), (rows, columns), (4, 4 * lead))
