"""Labels of very many structures by one potential, kept in part files as they are made."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from pyacemaker.base import fingerprint
from pyacemaker.files import replacing
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Dataset, FloatArray, Labels

log = logging.getLogger(__name__)

PART = 500
"""Structures of a part."""
_DAMAGED = (OSError, ValueError, KeyError, EOFError, BadZipFile)


class LabelParts:
    """Labels in parts of `PART` consecutive structures, each a file that is whole or absent.

    A call that was killed goes on after the last part that it finished; at no time are the labels of more
    than one part in memory. A part depends on nothing but its own structures and the potential, so that the
    labels are the same to the last bit whether they were made in one go or in many, and appended structures
    leave the parts before them alone.

    directory: where the files are. identity: says which potential it is, in what precision; another identity
    makes other files. Structures with NaN or Inf get NaN for a label, unseen by the potential; what a
    potential cannot evaluate for another reason ends the call with its error.
    """

    def __init__(self, directory: Path, identity: str, part: int = PART) -> None:
        self.directory = Path(directory)
        self.identity = identity
        self.part = part

    def label(
        self,
        structures: Iterable[AtomStructure],
        load: Callable[[], Potential],
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Dataset]:
        """The structures with labels, part by part, in order; what the files hold is not computed again.

        structures: consumed lazily. load: gives the potential, called when the first part is to be computed.
        progress: called with the number of structures done. When all are done, parts that belong to other
        structures or another potential are removed.
        """
        used: set[Path] = set()
        remaining, done, potential = iter(structures), 0, None
        while chunk := Dataset(islice(remaining, self.part)):
            path = self.path(chunk)
            labels = _read(path, chunk)
            if labels is None:
                potential = potential or load()
                _write(path, chunk, _evaluated(chunk, potential))
                labels = _read(path, chunk)
            if labels is None:
                raise OSError(f"{path} was written but cannot be read back: check the disk")
            used.add(path)
            done += len(chunk)
            if progress is not None:
                progress(done)
            yield chunk.with_labels(labels, self.identity.partition(" ")[0])
        for path in set(self.directory.glob("part-*.npz")) - used:
            path.unlink()

    def path(self, structures: Sequence[AtomStructure]) -> Path:
        """The file of a part that holds these structures."""
        content = fingerprint([self.identity, [structure.id for structure in structures]])
        return self.directory / f"part-{content[:32]}.npz"


def _evaluated(structures: Dataset, potential: Potential) -> list[Labels]:
    fit = [bool(np.isfinite(s.positions).all() and np.isfinite(s.cell).all()) for s in structures]
    known = iter(potential.evaluate(structures[np.array(fit)]))
    return [
        next(known) if good else Labels(np.nan, np.full((len(structure), 3), np.nan))
        for structure, good in zip(structures, fit, strict=True)
    ]


def _write(path: Path, structures: Dataset, labels: Sequence[Labels]) -> None:
    """Energy (n,), forces (atoms, 3), stress (n, 6), energies of atoms (atoms,); NaN where there is none."""
    nothing = np.full(6, np.nan)
    alone = [np.full(len(s), np.nan) for s in structures]
    with replacing(path) as aside:
        np.savez(
            aside,
            ids=np.array(structures.ids),
            energy=np.array([label.energy for label in labels]),
            forces=np.concatenate([label.forces for label in labels]),
            stress=np.array([nothing if label.stress is None else label.stress for label in labels]),
            energies=np.concatenate(
                [
                    none if label.energies is None else label.energies
                    for label, none in zip(labels, alone, strict=True)
                ]
            ),
            has=np.array([[label.stress is not None, label.energies is not None] for label in labels]),
        )


def _read(path: Path, structures: Dataset) -> list[Labels] | None:
    """The labels in a part's file; None where it is missing, damaged, or of other structures."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as content:
            parts: dict[str, FloatArray] = {name: content[name] for name in content.files}
        ends = np.cumsum([len(structure) for structure in structures])[:-1]
        forces, energies = np.split(parts["forces"], ends), np.split(parts["energies"], ends)
        if parts["ids"].tolist() != structures.ids:
            raise ValueError("it holds other structures")
        return [
            Labels(
                parts["energy"][k],
                forces[k],
                parts["stress"][k] if parts["has"][k, 0] else None,
                energies[k] if parts["has"][k, 1] else None,
            )
            for k in range(len(structures))
        ]
    except _DAMAGED as error:
        log.warning("%s cannot be used (%s): its labels are made again", path, error)
        return None
