"""MLIP's `.cfg`: labelled configurations as the MTP codes read them (Novikov et al., MLST 2, 025002 (2021)).

A block `BEGIN_CFG … END_CFG` per structure: cell (Å), atoms (type counted from 0, positions in Å, forces in
eV/Å), energy (eV), `PlusStress` (eV: minus the volume times the stress in ASE's sign; xx yy zz yz xz xy),
and lines `Feature NAME VALUE`. Types are the elements of the whole file in alphabetical order; the feature
`elements` names them. What the format has no place for travels in two features of our own: `extxyz`, the
comment line of extended XYZ, and `columns`, further values per atom.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from pyacemaker.errors import DataError
from pyacemaker.files import replacing
from pyacemaker.structures.extxyz import Frame, format_frame, parse_comment
from pyacemaker.structures.frames import to_frame
from pyacemaker.structures.structure import AtomStructure

BEGIN, END = "BEGIN_CFG", "END_CFG"


def write_mlip_cfg(path: Path, structures: Iterable[AtomStructure]) -> None:
    """Write MLIP configurations, atomically; a structure without labels gets none."""
    found = list(structures)
    elements = sorted({symbol for structure in found for symbol in structure.symbols})
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as handle:
        for structure in found:
            handle.writelines(f"{line}\n" for line in _block(structure, elements))


def is_mlip_cfg(path: Path) -> bool:
    """Whether the file begins with a configuration of MLIP (AtomEye's `.cfg` does not)."""
    with path.open("rb") as handle:
        return handle.read(200).lstrip().startswith(BEGIN.encode())


def read_mlip_cfg(path: Path) -> Iterator[Frame]:
    """Yield the configurations of a file; `DataError` where one is damaged or does not name its elements."""
    with path.open(encoding="utf-8") as handle:
        for first, lines in _blocks(path, handle):
            try:
                yield _parse(lines)
            except (ValueError, KeyError, IndexError) as error:
                raise DataError(
                    f"{path}, configuration that starts at line {first}: {error}; correct that configuration"
                ) from None


def _block(structure: AtomStructure, elements: list[str]) -> Iterator[str]:
    labels = structure.labels
    names = "id type cartes_x cartes_y cartes_z" + (" fx fy fz" if labels is not None else "")
    yield f"{BEGIN}\n Size\n    {len(structure)}"
    if structure.is_periodic:
        yield " Supercell"
        yield from (f"    {_numbers(row)}" for row in structure.cell)
    yield f" AtomData: {names}"
    for k, symbol in enumerate(structure.symbols):
        forces = "" if labels is None else f" {_numbers(labels.forces[k])}"
        yield f"    {k + 1} {elements.index(symbol)} {_numbers(structure.positions[k])}{forces}"
    if labels is not None:
        yield f" Energy\n    {labels.energy!r}"
    if labels is not None and labels.stress is not None and structure.volume is not None:
        yield f" PlusStress: xx yy zz yz xz xy\n    {_numbers(-structure.volume * labels.stress)}"
    yield f" Feature elements {' '.join(elements)}"
    frame = to_frame(structure)
    yield f" Feature extxyz {format_frame(replace(frame, arrays={})).splitlines()[1]}"
    columns = {name: array.tolist() for name, array in frame.arrays.items() if name != "REF_forces"}
    if columns:
        yield f" Feature columns {json.dumps(columns)}"
    yield f"{END}\n"


def _numbers(values: NDArray[Any]) -> str:
    return " ".join(repr(float(value)) for value in values)


def _blocks(path: Path, handle: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Each configuration's first line number and the lines between its begin and its end."""
    first = 0
    lines: list[str] = []
    for number, line in enumerate(handle, start=1):
        word = line.strip()
        if word == BEGIN:
            first, lines = number, []
        elif word == END and first:
            yield first, lines
            first = 0
        elif first:
            lines.append(line.rstrip("\n"))
    if first:
        raise DataError(f"{path}, configuration that starts at line {first}: it has no {END}; it is cut off")


@dataclass(frozen=True)
class _Block:
    """The lines of a configuration as words, and at which line each section stands."""

    words: list[list[str]]
    starts: dict[str, int]
    features: dict[str, str]

    @classmethod
    def of(cls, lines: list[str]) -> "_Block":
        words = [line.split() for line in lines if line.strip()]
        starts = {line[0].rstrip(":"): k for k, line in enumerate(words) if line[0][0].isalpha()}
        pairs = [line.split(maxsplit=2)[1:] for line in lines if line.split()[:1] == ["Feature"]]
        return cls(words, starts, {pair[0]: pair[1] for pair in pairs if len(pair) == 2})

    def rows(self, section: str, count: int) -> list[list[str]]:
        """The `count` lines below the head of a section."""
        first = self.starts[section] + 1
        return self.words[first : first + count]

    def table(self) -> dict[str, tuple[str, ...]]:
        """The columns of the atoms by name."""
        size = int(self.rows("Size", 1)[0][0])
        columns = zip(*self.rows("AtomData", size), strict=True)
        return dict(zip(self.words[self.starts["AtomData"]][1:], columns, strict=True))


def _parse(lines: list[str]) -> Frame:
    block = _Block.of(lines)
    if "elements" not in block.features:
        raise ValueError("no line 'Feature elements Al Cu …' says which elements the types are")
    table = block.table()
    elements = block.features["elements"].split()
    numbers = np.array([atomic_numbers[elements[int(kind)]] for kind in table["type"]])
    info = parse_comment(block.features.get("extxyz", ""))
    info.pop("Properties", None)
    columns = json.loads(block.features.get("columns", "{}"))
    arrays = {name: np.array(values) for name, values in columns.items()}
    cell = np.array(info.pop("Lattice", np.zeros(9)), dtype=np.float64).reshape(3, 3)
    if "Supercell" in block.starts:
        cell = np.array(block.rows("Supercell", 3), dtype=np.float64)
    periodic = np.broadcast_to(np.asarray(info.pop("pbc", bool(cell.any())), dtype=bool), 3)
    if "Energy" in block.starts:
        info["REF_energy"] = float(block.rows("Energy", 1)[0][0])
    if "fx" in table:
        arrays["REF_forces"] = _columns(table, "fx", "fy", "fz")
    if "PlusStress" in block.starts and "REF_stress" not in info:
        info["REF_stress"] = _stress(block, cell)
    return Frame(numbers, _columns(table, "cartes_x", "cartes_y", "cartes_z"), cell, periodic, info, arrays)


def _stress(block: _Block, cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """(6,), eV/Å³, ASE's order and sign."""
    order = block.words[block.starts["PlusStress"]][1:]
    values = dict(zip(order, map(float, block.rows("PlusStress", 1)[0]), strict=True))
    voigt = np.array([values[name] for name in ("xx", "yy", "zz", "yz", "xz", "xy")])
    return np.asarray(-voigt / abs(np.linalg.det(cell)))


def _columns(table: dict[str, tuple[str, ...]], *names: str) -> NDArray[np.float64]:
    return np.array([[float(word) for word in table[name]] for name in names]).T
