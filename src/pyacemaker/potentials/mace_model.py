"""MACE model files: recognised without running them, loaded quietly, given other reference energies."""

import contextlib
import io
import logging
import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ase.data import atomic_numbers, chemical_symbols

from pyacemaker.errors import ConfigError, FoundationModelError, UnsupportedElementError, described
from pyacemaker.files import replacing

Precision = Literal["float32", "float64"]

_UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    ImportError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)
_MODEL_PARTS = (
    "atomic_numbers",
    "r_max",
    "atomic_energies_fn",
    "interactions",
    "products",
    "num_interactions",
)


@contextmanager
def quiet_mace() -> Iterator[None]:
    """Import and load MACE without the warnings, prints and log records of MACE and its dependencies.

    The warning filters, the logging level and torch's default precision are as before afterwards.
    """
    import torch

    precision = torch.get_default_dtype()
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        torch.set_default_dtype(precision)


def check_model_file(path: Path) -> None:
    """Raise `FoundationModelError` unless `path` is a file that holds a whole pickled MACE model.

    Reads the archive's list of names only: nothing in the file is executed. That the file is what its author
    says is a matter of its checksum.
    """
    if path.is_dir():
        raise FoundationModelError(f"{path} is a directory; expected a MACE model file: give the file's path")
    if not path.is_file():
        raise FoundationModelError(f"the model file {path} does not exist; correct the path")
    try:
        pickled = _read_pickle(path)
    except zipfile.BadZipFile as error:
        raise FoundationModelError(
            f"{path} is not a MACE model: it is no whole archive of torch.save; give the path of a .model "
            "file, or get a damaged one again"
        ) from error
    if not any(name.startswith("mace.modules.models ") for name in _pickled_names(pickled)):
        raise FoundationModelError(
            f"{path} is not a whole MACE model: it names no class of mace.modules.models (a state dict, a "
            "checkpoint or a compiled model?); give the .model file that mace_run_train saved"
        )


def _read_pickle(path: Path) -> bytes:
    """The pickle in an archive of torch.save; empty where there is none."""
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return archive.read(found[0]) if found else b""


def _pickled_names(pickled: bytes) -> set[str]:
    """The `module name` pairs that unpickling would import."""
    names: set[str] = set()
    strings: list[str] = []
    try:
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name == "GLOBAL":
                names.add(str(argument))
            elif operation.name == "STACK_GLOBAL" and len(strings) > 1:
                names.add(" ".join(strings[-2:]))
            elif isinstance(argument, str):
                strings.append(argument)
    except ValueError:
        return set()
    return names


def load_model(path: Path, device: str = "cpu", dtype: Precision = "float64") -> Any:
    """The torch module in a MACE model file, converted to `dtype`, in evaluation mode, without gradients.

    Loading executes the pickle: check its origin first. Raises `FoundationModelError` for anything that is
    not a MACE model, `ConfigError` for a device that is not there.
    """
    import torch

    check_model_file(path)
    try:
        with quiet_mace():
            import mace  # noqa: F401 - before e3nn, which cannot be imported without what this sets

            model = torch.load(path, map_location="cpu", weights_only=False)
    except _UNPICKLING_ERRORS as error:
        raise FoundationModelError(
            f"{path} cannot be loaded as a MACE model ({described(error)}); the file is damaged "
            "or was made by another version of MACE: get it again"
        ) from error
    missing = [part for part in _MODEL_PARTS if not hasattr(model, part)]
    if missing:
        raise FoundationModelError(
            f"{path} holds a {type(model).__name__} without {', '.join(missing)}; expected a MACE energy "
            "model"
        )
    model = _on_device(model.to(getattr(torch, dtype)).eval(), device)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def _on_device(model: Any, device: str) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"the device {device!r} cannot be used here ({reason}); set device to cpu"
        ) from error


def model_heads(model: Any) -> list[str]:
    """The names of a model's heads; a single-head model of an early version has ["Default"]."""
    return [str(head) for head in getattr(model, "heads", None) or ["Default"]]


def head_index(model: Any, head: str | None) -> int:
    """The position of `head`; None means the head called Default, or else the last one."""
    heads = model_heads(model)
    if head is None:
        return heads.index("Default") if "Default" in heads else len(heads) - 1
    if head not in heads:
        raise FoundationModelError(f"the model has no head {head!r}; its heads are {', '.join(heads)}")
    return heads.index(head)


def read_reference_energies(model: Any, head: int = 0) -> dict[str, float]:
    """E0 of each element in eV, as one head has them."""
    table = model.atomic_energies_fn.atomic_energies.reshape(-1, len(model.atomic_numbers))
    row = table[min(head, len(table) - 1)].tolist()
    return dict(zip(element_symbols(model), row, strict=True))


def element_symbols(model: Any) -> tuple[str, ...]:
    """The chemical symbols that a model covers, in its own order."""
    return tuple(chemical_symbols[int(number)] for number in model.atomic_numbers)


def write_reference_energies(model: Any, energies: Mapping[str, float]) -> None:
    """Set, in place and for every head, E0 (eV) of the elements in `energies`; the others keep theirs.

    Raises `UnsupportedElementError` for an element that the model does not have.
    """
    import torch

    numbers = [int(number) for number in model.atomic_numbers]
    unknown = [symbol for symbol in energies if atomic_numbers[symbol] not in numbers]
    if unknown:
        raise UnsupportedElementError(
            f"reference energies for {', '.join(unknown)} were given, but the model covers only "
            f"{'-'.join(element_symbols(model))}"
        )
    table = model.atomic_energies_fn.atomic_energies
    with torch.no_grad():
        for symbol, energy in energies.items():
            table[..., numbers.index(atomic_numbers[symbol])] = energy


def save_model(model: Any, path: Path) -> None:
    """Write a model file atomically; the same weights always give the same bytes, whatever the path."""
    import torch

    buffer = io.BytesIO()  # torch.save names the archive after the file it writes to
    with quiet_mace():
        torch.save(model, buffer)
    with replacing(path) as aside:
        aside.write_bytes(buffer.getvalue())
