"""`.asi` files: the inverse active set of each element, for LAMMPS `pair_style pace/extrapolation`.

A NumPy `savez` archive without the `.npz` suffix, with one float64 (K, K) array per chemical symbol; its
columns belong to the active environments, its rows to the functions of `b_basis.BBasis`, in their order.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pyacemaker.errors import PotentialFormatError
from pyacemaker.files import replacing
from pyacemaker.structures import FloatArray


def write_asi(path: str | Path, inverses: Mapping[str, FloatArray]) -> None:
    """Write the inverse active set of each element, atomically; the same arrays give the same bytes."""
    # readers of the file know neither other types nor other memory orders
    arrays = {symbol: np.ascontiguousarray(a, dtype=np.float64) for symbol, a in sorted(inverses.items())}
    with replacing(Path(path)) as aside, aside.open("wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]


def read_asi(path: str | Path) -> dict[str, FloatArray]:
    """The (K, K) inverse active set of each element.

    Raises `PotentialFormatError`, naming the file, where it is missing, damaged or of another kind.
    """
    path = Path(path)
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files}
    except (OSError, ValueError, EOFError, TypeError, KeyError, zipfile.BadZipFile) as error:
        summary = " ".join(str(error).split()) or type(error).__name__
        raise PotentialFormatError(
            f"{path} cannot be read as an active set ({summary}); expected an .asi file, which "
            "`pyacemaker activeset` writes"
        ) from error
    for name, array in arrays.items():
        square = array.ndim == 2 and array.shape[0] == array.shape[1]
        if array.dtype != np.float64 or not square or not np.isfinite(array).all():
            raise PotentialFormatError(
                f"{path} is damaged: the array {name!r} is {array.dtype} of shape {array.shape}; expected "
                "a square matrix of finite float64 numbers"
            )
    return arrays
