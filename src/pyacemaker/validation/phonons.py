"""Do crystals vibrate as by the teacher?"""

import itertools
import tempfile
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, FloatArray
from pyacemaker.validation.elastic import at_minimum
from pyacemaker.validation.gate import Gate, Limit, Measured, Subject

THZ_PER_EV = 241.79892420849183
"""Frequency in THz of a quantum of 1 eV (CODATA 2018)."""


class Phonons(Gate):
    """Phonon frequencies at all wave vectors that fit into a supercell, each model at its own minimum.

    Finite displacements by `ase.phonons`. Of the crystals that the settings name. value: the largest
    difference of a frequency from the teacher's, over the teacher's highest one; imaginary ones count as
    negative, so that a crystal that only one of them finds unstable stands out.
    """

    name: ClassVar[str] = "phonons"
    unit: ClassVar[str] = "% of the highest"
    limit: Limit = 20.0
    """%."""
    length: PositiveFloat = 8.0
    """Å, of the supercell's vectors at least, where `max_atoms` allows."""
    max_atoms: PositiveInt = 64
    """Most atoms of the supercell; larger crystals are left out."""
    displacement: Annotated[float, Field(gt=0, le=0.1)] = 0.01
    """Å."""

    def measure(self, subject: Subject) -> Measured | None:
        """Frequencies of both models, THz."""
        crystals = {n: c for n, c in subject.main_crystals().items() if len(c) <= self.max_atoms}
        curves, errors, notes = {}, {}, []
        for name, crystal in crystals.items():
            multiples = self._multiples(crystal)
            points = wave_vectors(multiples)
            by = {
                who: frequencies(at_minimum(subject, name, who), model, multiples, points, self.displacement)
                for who, model in subject.models.items()
            }
            errors[name] = 100.0 * float(np.abs(by["student"] - by["teacher"]).max() / by["teacher"].max())
            curves[name] = {
                "points": points.tolist(),
                "student_thz": by["student"].tolist(),
                "teacher_thz": by["teacher"].tolist(),
            }
            rms = float(np.sqrt(np.mean((by["student"] - by["teacher"]) ** 2)))
            notes.append(f"{name}: RMS {rms:.2g} THz, lowest {by['student'].min():.2g}")
        if not curves:
            return None
        return Measured(max(errors.values()), self.unit, "; ".join(notes[:2]), student=errors, curves=curves)

    def _multiples(self, crystal: AtomStructure) -> tuple[int, int, int]:
        lengths = np.linalg.norm(crystal.cell, axis=1)
        multiples = np.maximum(1, np.ceil(self.length / lengths - 0.05)).astype(int)
        while multiples.prod() * len(crystal) > self.max_atoms and multiples.max() > 1:
            multiples[np.argmax(multiples * lengths * (multiples > 1))] -= 1
        a, b, c = (int(m) for m in multiples)
        return a, b, c


def wave_vectors(multiples: tuple[int, int, int]) -> FloatArray:
    """(n, 3), in reciprocal lattice vectors: those that fit into the supercell, one of each q and −q."""
    kept: list[tuple[float, ...]] = []
    seen: set[tuple[int, ...]] = set()
    for index in itertools.product(*(range(n) for n in multiples)):
        if tuple(-i % n for i, n in zip(index, multiples, strict=True)) not in seen:
            kept.append(tuple(i / n for i, n in zip(index, multiples, strict=True)))
        seen.add(index)
    return np.array(kept)


def frequencies(
    crystal: AtomStructure,
    potential: Potential,
    multiples: tuple[int, int, int],
    points: FloatArray,
    displacement: float,
) -> FloatArray:
    """(points, 3 n), THz, increasing at every wave vector; imaginary ones are negative."""
    from ase.phonons import Phonons as Displacements

    with tempfile.TemporaryDirectory() as folder:
        displaced = Displacements(
            crystal.to_atoms(),
            potential.calculator(),
            supercell=multiples,
            delta=displacement,
            name=str(Path(folder) / "phonon"),
        )
        displaced.run()
        displaced.read(acoustic=True)
        return np.sort(THZ_PER_EV * np.real(displaced.band_structure(points, verbose=False)), axis=1)
