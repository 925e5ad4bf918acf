"""Structure files: any file that ASE reads in, extended XYZ out, labels under the names the field uses.

Energies, forces and stresses are understood under `energy`, `forces`, `stress` (and `free_energy` where there
is no `energy`) and under `REF_energy`, `REF_forces`, `REF_stress`, which win when a structure has both; other
names are arguments. A label needs an energy and forces; a lone atom's forces are zero.

Single labels are weighted by `config_energy_weight`, `config_forces_weight` and `config_stress_weight` in the
comment line and by the columns `forces_weight` and `forces_mask`; see `frames.find_weights`. A label of
weight zero may be NaN: it becomes 0 and is not used. A label that is NaN and not masked makes the structure's
labels unusable.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from pyacemaker.errors import DataError, described
from pyacemaker.files import replacing
from pyacemaker.structures.ase_database import read_ase_database
from pyacemaker.structures.dataset import Dataset
from pyacemaker.structures.extxyz import Frame, read_extxyz, writable, write_extxyz
from pyacemaker.structures.frames import (
    LABEL_KEYS,
    STRUCTURE_KEYS,
    LabelKeys,
    any_frame,
    find_labels,
    find_weights,
    to_frame,
    to_structure,
    with_labels,
)
from pyacemaker.structures.lammps_data import is_lammps_data
from pyacemaker.structures.mlip_cfg import is_mlip_cfg, read_mlip_cfg
from pyacemaker.structures.pacemaker_table import read_pacemaker_table
from pyacemaker.structures.structure import AtomStructure, FloatArray, Labels

logger = logging.getLogger(__name__)

LARGEST_LABEL = 1e6
"""eV per atom and eV/Å: numbers beyond are no labels (the energy of uranium is -0.8e6 eV)."""

UNUSABLE = "NaN, Inf or numbers beyond 1e6 eV per atom or eV/Å"
"""What makes a label unusable, for messages."""

_LIKE_A_LABEL = re.compile(r"energ|forc|gradient|^[ef]$|(^|[_-])[ef]($|[_-])", re.IGNORECASE)


@dataclass(frozen=True)
class LabelledData:
    """What `read_labelled` found.

    structures: the labelled ones, in the file's order. n_skipped: how many labels were left out because they
    hold NaN or Inf. n_unlabelled: how many structures lack the energy or the forces.
    """

    structures: Dataset
    n_skipped: int = 0
    n_unlabelled: int = 0

    @property
    def n_labels(self) -> int:
        """Number of labels found and kept."""
        return len(self.structures)


def read_structures(
    path: str | Path,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    allow_empty: bool = False,
    warn_without_labels: bool = False,
) -> Dataset:
    """All structures of a file, with labels where there are finite ones.

    Energies in eV, forces in eV/Å, stress in eV/Å³ with ASE's sign (positive = tensile), as 6 Voigt
    components or 3 × 3, for periodic structures. A key that is given replaces the default ones; `stress_key`
    follows `energy_key` (`dft_energy`, `dft_stress`) unless it is given too. Tag from `tag` or `config_type`,
    weight from `weight` or `config_weight`, charge and spin multiplicity from `charge` and `spin`.
    warn_without_labels: say so where no labels are found but some seem to stand under other names.

    Raises `DataError` when the file is missing, unreadable, empty (unless `allow_empty`), holds something
    that is no structure, or when no structure has labels under the keys that were asked for.
    """
    path = Path(path)
    keys = LabelKeys(energy_key, forces_key, stress_key)
    found = _read(path, keys)
    if not found.structures and not allow_empty:
        raise DataError(f"{path} holds no structures; check that it was written to the end")
    if found.n_labels == 0 and keys.are_given() and found.structures:
        raise DataError(found.no_labels_message(path))
    found.warn(path)
    if warn_without_labels:
        found.warn_of_other_keys(path)
    return Dataset(found.structures)


def read_labelled(
    path: str | Path,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
) -> LabelledData:
    """The labelled structures of a file; see `read_structures` for what is understood.

    Labels that hold NaN or Inf, or numbers beyond `LARGEST_LABEL`, are left out, with one warning that counts
    them. Raises `DataError` as
    `read_structures` does, and when no usable label is found.
    """
    path = Path(path)
    keys = LabelKeys(energy_key, forces_key, stress_key)
    found = _read(path, keys)
    if not found.structures:
        raise DataError(f"{path} holds no structures; check that it was written to the end")
    if found.n_labels == 0:
        raise DataError(found.no_labels_message(path))
    found.warn(path)
    return LabelledData(Dataset(found.structures).labelled(), found.n_not_finite, found.n_without)


def write_structures(path: str | Path, structures: Iterable[AtomStructure]) -> None:
    """Write extended XYZ, atomically, whatever the suffix; reading it gives back the same ids and labels.

    A path that ends in `.gz` gets a compressed file, the same bytes for the same structures.

    Labels go under `REF_energy` (eV), `REF_forces` (eV/Å) and `REF_stress` (eV/Å³, Voigt); charge, spin, tag,
    source and weights go into the comment line, as do the structure's other facts; weights of single forces
    are a column. No structures give an empty file.
    """
    _write(Path(path), (to_frame(structure) for structure in structures))


def write_predictions(
    path: str | Path,
    inputs: str | Path | Sequence[AtomStructure | Atoms],
    labels: Sequence[Labels],
    gamma: Sequence[FloatArray] | None = None,
) -> None:
    """Write what `inputs` holds plus `pred_energy` (eV), `pred_forces` (eV/Å), `pred_stress` (eV/Å³, Voigt).

    inputs: the file whose structures were evaluated (all its keys and columns are kept), or the structures.
    labels: one per structure, in order; `ValueError` when the numbers differ, and then nothing is written.
    gamma: (n,) extrapolation grades of the atoms of each structure, for a column `gamma`.
    """
    if isinstance(inputs, str | Path):
        frames = _read_frames(Path(inputs))
    else:
        frames = (any_frame(structure) for structure in inputs)
    pairs = zip(frames, labels, strict=True)
    written = (with_labels(frame, prediction, "pred_") for frame, prediction in pairs)
    if gamma is not None:
        written = (
            replace(frame, arrays={**frame.arrays, "gamma": values})
            for frame, values in zip(written, gamma, strict=True)
        )
    _write(Path(path), written)


def _write(path: Path, frames: Iterable[Frame]) -> None:
    with replacing(path) as aside, writable(aside) as handle:
        write_extxyz(handle, frames)


@dataclass
class _Found:
    """The structures read, and what became of their labels."""

    keys: LabelKeys
    structures: list[AtomStructure] = field(default_factory=list)
    n_not_finite: int = 0
    n_without: int = 0
    n_incomplete: int = 0
    present: set[str] = field(default_factory=set)

    @property
    def n_labels(self) -> int:
        return len(self.structures) - self.n_not_finite - self.n_without

    def add(self, frame: Frame) -> None:
        self.present |= frame.info.keys() | frame.arrays.keys()
        labels, is_incomplete = find_labels(frame, self.keys)
        self.n_incomplete += is_incomplete
        self.n_without += labels is None
        weights = find_weights(frame)
        if labels is not None and weights is not None:
            labels = weights.masked(labels)
        if labels is not None and not _is_usable(labels):
            self.n_not_finite += 1
            labels = None
        self.structures.append(to_structure(frame, labels, self.keys.names))

    def warn(self, path: Path) -> None:
        total = len(self.structures)
        if self.n_not_finite:
            logger.warning(
                "%s: %d of %d labels hold %s and are skipped", path, self.n_not_finite, total, UNUSABLE
            )
        if self.n_incomplete:
            logger.warning(
                "%s: %d of %d structures have an energy without forces or forces without an energy; "
                "they count as unlabelled",
                path,
                self.n_incomplete,
                total,
            )

    def warn_of_other_keys(self, path: Path) -> None:
        others = sorted(
            key
            for key in self.present - STRUCTURE_KEYS - LABEL_KEYS
            if _LIKE_A_LABEL.search(key) and not key.startswith("pred_")
        )
        if others and not self.n_labels and not self.keys.are_given():
            logger.warning(
                "%s: no labels found, but the keys %s look like some: name them with --energy-key and "
                "--forces-key",
                path,
                ", ".join(others),
            )

    def no_labels_message(self, path: Path) -> str:
        if self.n_not_finite:
            reason = f"all {self.n_not_finite} labels hold {UNUSABLE}"
            return f"{path}: no usable labels: {reason}; recompute those structures or leave them out"
        present = ", ".join(sorted(self.present - STRUCTURE_KEYS)) or "none"
        return (
            f"{path}: no labels found in {len(self.structures)} structures: looked for "
            f"{self.keys.describe()}, found the keys {present}; name the right ones with "
            "--energy-key and --forces-key"
        )


def _is_usable(labels: Labels) -> bool:
    if not labels.is_finite():
        return False
    largest = max(abs(labels.energy) / len(labels.forces), float(np.abs(labels.forces).max()))
    return largest <= LARGEST_LABEL


def _read(path: Path, keys: LabelKeys) -> _Found:
    found = _Found(keys)
    for position, frame in enumerate(_read_frames(path)):
        try:
            found.add(frame)
        except ValueError as error:
            raise DataError(f"{path}, structure {position}: {error}; correct it or leave it out") from None
    return found


def _read_frames(path: Path) -> Iterator[Frame]:
    """The frames of a file of any format; `DataError` for what cannot be read."""
    if not path.exists():
        raise DataError(f"{path} does not exist; check the name of the structure file")
    if path.is_dir():
        raise DataError(f"{path} is a directory; name a structure file in it")
    if path.stat().st_size == 0:
        return
    try:
        yield from _reader(path)(path)
    except (OSError, UnicodeDecodeError, EOFError) as error:
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{path} cannot be read as a structure file ({reason}); give an extended XYZ file or another "
            "format that ASE reads"
        ) from error


def _reader(path: Path) -> Callable[[Path], Iterator[Frame]]:
    """What reads this file: our own readers where they know more than ASE's."""
    name = path.name.lower()
    if name.endswith(".db"):
        return read_ase_database
    if name.endswith((".pckl.gzip", ".pkl.gz")):
        return read_pacemaker_table
    if name.endswith(".cfg") and is_mlip_cfg(path):
        return read_mlip_cfg
    if name.endswith((".data", ".lmp")) and is_lammps_data(path):
        return partial(_read_with_ase, file_format="lammps-data")
    return read_extxyz if _is_xyz(path) else _read_with_ase


def _is_xyz(path: Path) -> bool:
    """By the suffix; for a suffix that means nothing, by a first line that is a number of atoms."""
    if path.name.removesuffix(".gz").endswith((".xyz", ".extxyz")):
        return True
    known = _format_of(path)
    if known in ioformats:
        return bool(known == "extxyz")
    with path.open("rb") as handle:
        return handle.readline(40).strip().isdigit()


def _format_of(path: Path) -> str:
    """ASE's name of the format that a file seems to have; empty where it knows none."""
    try:
        return str(filetype(str(path)))
    except UnknownFileTypeError:
        return ""


def _read_with_ase(path: Path, file_format: str | None = None) -> Iterator[Frame]:
    from ase.io import read

    try:
        images = read(str(path), index=":", format=file_format, do_not_split_by_at_sign=True)
    except Exception as error:  # forty parsers, each with its own ways to fail
        known = file_format or _format_of(path)
        taken_for = f", taken for {known}" if known else ""
        raise DataError(
            f"{path} cannot be read as a structure file{taken_for} ({described(error)}); give an "
            "extended XYZ file or another format that ASE reads"
        ) from error
    for atoms in images:
        yield any_frame(atoms)
