"""Accumulated normal equations: a least-squares problem whose memory does not grow with the number of rows.

For weighted rows A (R, K) and targets y (R,), the state is G = AᵀA, b = Aᵀy, yᵀy and R. States of parts of
the data add up to the state of the whole, so parts can be made in any process, saved, and left out again
(cross-validation).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from pyacemaker.errors import DataError
from pyacemaker.files import replacing
from pyacemaker.structures import FloatArray


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """G, b, yᵀy of weighted least squares.

    gram: (K, K), of which only the lower triangle is kept up to date. projection: (K,) Aᵀy. square: yᵀy.
    rows: number of rows. structures: number of structures they come from.
    """

    gram: FloatArray
    projection: FloatArray
    square: float = 0.0
    rows: int = 0
    structures: int = 0

    @classmethod
    def empty(cls, functions: int) -> "NormalEquations":
        """No rows yet, for K = `functions` unknowns."""
        return cls(np.zeros((functions, functions), order="F"), np.zeros(functions))

    def add_rows(
        self, matrix: FloatArray, target: FloatArray, structures: int = 0, rows: int | None = None
    ) -> "NormalEquations":
        """The state with more rows. **The Gram matrix is updated in place**: use the returned object from now
        on.

        matrix: (K, R), the *transposed* weighted rows, C-contiguous. target: (R,). rows: how many of them
        count as data; all where None.
        """
        from scipy.linalg.blas import dsyrk

        # trans=1 on the transposed (Fortran) view of a C array computes matrix · matrixᵀ without a copy
        gram = dsyrk(1.0, matrix.T, beta=1.0, c=self.gram, trans=1, lower=1, overwrite_c=1)
        return NormalEquations(
            gram,
            self.projection + matrix @ target,
            self.square + float(target @ target),
            self.rows + (len(target) if rows is None else rows),
            self.structures + structures,
        )

    def absorb(self, other: "NormalEquations") -> "NormalEquations":
        """`self + other` without a third matrix. **Updated in place**: go on with the returned object."""
        self._check_size(other)
        np.add(self.gram, other.gram, out=self.gram)
        return NormalEquations(
            self.gram,
            self.projection + other.projection,
            self.square + other.square,
            self.rows + other.rows,
            self.structures + other.structures,
        )

    def __add__(self, other: "NormalEquations") -> "NormalEquations":
        return self._combine(other, 1)

    def __sub__(self, other: "NormalEquations") -> "NormalEquations":
        return self._combine(other, -1)

    def _combine(self, other: "NormalEquations", sign: int) -> "NormalEquations":
        self._check_size(other)
        return NormalEquations(
            self.gram + sign * other.gram,
            self.projection + sign * other.projection,
            self.square + sign * other.square,
            self.rows + sign * other.rows,
            self.structures + sign * other.structures,
        )

    def _check_size(self, other: "NormalEquations") -> None:
        if self.gram.shape != other.gram.shape:
            raise ValueError(
                f"states of {len(self.projection)} and {len(other.projection)} functions do not add up"
            )

    def times(self, coefficients: FloatArray) -> FloatArray:
        """(K,) G c."""
        from scipy.linalg.blas import dsymv

        return np.asarray(dsymv(1.0, self.gram, coefficients, lower=1)) if len(coefficients) else coefficients

    def loss(self, coefficients: FloatArray) -> float:
        """Σ (A c − y)², from the state alone; not negative."""
        quadratic = float(coefficients @ self.times(coefficients))
        return max(0.0, quadratic - 2.0 * float(self.projection @ coefficients) + self.square)

    def __reduce__(self) -> tuple[Any, ...]:
        # between processes only the triangle travels
        counts = (self.square, self.rows, self.structures)
        return _unpacked, (_packed(self.gram), self.projection, *counts)

    def save(self, path: Path) -> None:
        """Write the state to an `.npz` file, atomically."""
        with replacing(path) as aside, aside.open("wb") as handle:
            np.savez(
                handle,
                triangle=_packed(self.gram),
                projection=self.projection,
                square=self.square,
                counts=np.array([self.rows, self.structures], dtype=np.int64),
            )

    @classmethod
    def load(cls, path: Path) -> "NormalEquations":
        """Read a saved state; `DataError` when the file is none."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                rows, structures = (int(count) for count in archive["counts"])
                square = float(archive["square"])
                return _unpacked(archive["triangle"], archive["projection"], square, rows, structures)
        except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
            raise DataError(
                f"{path} is not a saved state of a fit ({error}); delete it and fit again"
            ) from error


def merge(states: Sequence[NormalEquations]) -> NormalEquations:
    """The sum of states, in their order."""
    total = states[0]
    for state in states[1:]:
        total = total.absorb(state) if total is not states[0] else total + state
    return total


def _packed(gram: FloatArray) -> FloatArray:
    """(K (K + 1)/2,) the lower triangle, column by column."""
    from scipy.linalg.lapack import dtrttp

    return np.asarray(dtrttp(gram, uplo="L")[0]) if len(gram) else np.zeros(0)


def _unpacked(
    triangle: FloatArray, projection: FloatArray, square: float, rows: int, structures: int
) -> NormalEquations:
    from scipy.linalg.lapack import dtpttr

    functions = len(projection)
    if triangle.shape != (functions * (functions + 1) // 2,):
        raise ValueError(f"{triangle.shape} numbers in the triangle of {functions} functions")
    gram = np.zeros((functions, functions), order="F")
    if functions:
        gram = np.tril(dtpttr(functions, triangle, uplo="L")[0]).copy(order="F")
    return NormalEquations(gram, projection, square, rows, structures)
