"""The elements of a MACE model file, read without executing it and without torch."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from pyacemaker.errors import FoundationModelError, described

_FAILURES = (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError)


def read_elements(path: Path) -> tuple[str, ...]:
    """The chemical symbols that the model in a file of torch.save covers, in its own order.

    Every class and function that the pickle names is replaced by an inert stand-in, and of the tensors only
    that of the atomic numbers is looked at. Raises `FoundationModelError` where there is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            model = _Inert(io.BytesIO(archive.read(pickled))).load()
            key = _storage_of(_buffers(model)["atomic_numbers"])
            content = archive.read(pickled.removesuffix("data.pkl") + f"data/{key}")
        numbers = np.frombuffer(content, dtype="<i8")
        return tuple(chemical_symbols[number] for number in numbers)
    except (*_FAILURES, AttributeError, IndexError, StopIteration) as error:
        raise FoundationModelError(
            f"{path} does not say which elements it covers ({described(error)}); expected a "
            "MACE energy model as mace_run_train saves it"
        ) from error


class _Standin:
    """Takes whatever unpickling does to an object, and keeps it."""

    def __init__(self, *arguments: Any, **_: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __call__(self, *arguments: Any, **_: Any) -> "_Standin":
        return _Standin(*arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Of a dictionary that is not a plain one: left out."""

    def append(self, value: Any) -> None:
        """Of a list that is not a plain one: left out."""

    def extend(self, values: Any) -> None:
        """As `append`."""

    def __hash__(self) -> int:
        return id(self)


class _OrderedDict(dict[Any, Any]):
    """In place of `collections.OrderedDict`, with which modules keep their tensors."""

    def __setstate__(self, state: Any) -> None:
        """Attributes of the dictionary: left out."""


class _Inert(pickle.Unpickler):
    """An unpickler that imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        return _OrderedDict if (module, name) == ("collections", "OrderedDict") else _Standin

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _buffers(model: Any) -> Any:
    """The buffers of a pickled torch module."""
    state = model.state
    return state["_buffers"]


def _storage_of(tensor: Any) -> str:
    """The key of a tensor's storage: `_rebuild_tensor_v2((\"storage\", type, key, place, size), …)`."""
    return str(tensor.arguments[0][2])
