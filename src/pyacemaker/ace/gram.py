"""Accumulated normal equations: a least-squares problem whose memory does not grow with the number of rows.

For weighted rows A (R, K) and targets y (R,), the state is G = AᵀA, b = Aᵀy, yᵀy and R. States of parts of
the data add up to the state of the whole, so parts can be made in any process, saved, and left out again
(cross-validation).
"""

from dataclasses import dataclass
from pathlib import Path

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

    def add_rows(self, matrix: FloatArray, target: FloatArray, structures: int = 0) -> "NormalEquations":
        """The state with more rows. **The Gram matrix is updated in place**: use the returned object from now
        on.

        matrix: (K, R), the *transposed* weighted rows, C-contiguous. target: (R,).
        """
        from scipy.linalg.blas import dsyrk

        # trans=1 on the transposed (Fortran) view of a C array computes matrix · matrixᵀ without a copy
        gram = dsyrk(1.0, matrix.T, beta=1.0, c=self.gram, trans=1, lower=1, overwrite_c=1)
        return NormalEquations(
            gram,
            self.projection + matrix @ target,
            self.square + float(target @ target),
            self.rows + len(target),
            self.structures + structures,
        )

    def __add__(self, other: "NormalEquations") -> "NormalEquations":
        return self._combine(other, 1)

    def __sub__(self, other: "NormalEquations") -> "NormalEquations":
        return self._combine(other, -1)

    def _combine(self, other: "NormalEquations", sign: int) -> "NormalEquations":
        if self.gram.shape != other.gram.shape:
            raise ValueError(
                f"states of {len(self.projection)} and {len(other.projection)} functions do not add up"
            )
        return NormalEquations(
            self.gram + sign * other.gram,
            self.projection + sign * other.projection,
            self.square + sign * other.square,
            self.rows + sign * other.rows,
            self.structures + sign * other.structures,
        )

    def loss(self, coefficients: FloatArray) -> float:
        """Σ (A c − y)², from the state alone; not negative."""
        lower = np.tril(self.gram, -1)
        product = lower @ coefficients
        quadratic = 2.0 * float(coefficients @ product) + float(np.diag(self.gram) @ coefficients**2)
        return max(0.0, quadratic - 2.0 * float(self.projection @ coefficients) + self.square)

    def save(self, path: Path) -> None:
        """Write the state to an `.npz` file, atomically."""
        with replacing(path) as aside, aside.open("wb") as handle:
            np.savez(
                handle,
                gram=self.gram[np.tril_indices(len(self.projection))],
                projection=self.projection,
                square=self.square,
                counts=np.array([self.rows, self.structures], dtype=np.int64),
            )

    @classmethod
    def load(cls, path: Path) -> "NormalEquations":
        """Read a saved state; `DataError` when the file is none."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                projection = archive["projection"]
                gram = np.zeros((len(projection), len(projection)), order="F")
                gram[np.tril_indices(len(projection))] = archive["gram"]
                rows, structures = (int(count) for count in archive["counts"])
                return cls(gram, projection, float(archive["square"]), rows, structures)
        except (OSError, KeyError, ValueError) as error:
            raise DataError(
                f"{path} is not a saved state of a fit ({error}); delete it and fit again"
            ) from error
