"""Are crystals as stiff as by the teacher, in every direction?"""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from pyacemaker.generators.relaxation import downhill, relaxed_cell
from pyacemaker.generators.strains import strained
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, FloatArray, Labels
from pyacemaker.units import GPA_PER_EV_PER_CUBIC_ANGSTROM
from pyacemaker.validation.gate import Gate, Limit, Measured, ReferenceMethod, Subject

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_RELAXATION_STEPS = 40  # of the atoms in every strained cell


class ElasticConstants(Gate):
    """C_ij = dσ_i/dε_j of every crystal, each model at its own minimum, atoms relaxed in the strained cells.

    Of the crystals that the settings name, not of competing types, which may be unstable. value: the norm of
    the difference of the matrices over that of the teacher's.
    """

    name: ClassVar[str] = "elastic_constants"
    unit: ClassVar[str] = "%"
    limit: Limit = 20.0
    """%."""
    strain: Annotated[float, Field(gt=0, le=0.02)] = 0.005
    """Of each component, both ways; shears are engineering strains."""
    dft: bool = False
    """Whether the reference method computes the stresses of the final potential's strained cells as well:
    twelve labels per crystal."""

    def measure(self, subject: Subject) -> Measured | None:
        """All constants by both models, GPa."""
        found: dict[str, dict[str, list[list[float]]]] = {"student": {}, "teacher": {}}
        errors, notes = {}, []
        by_dft: dict[str, list[list[float]]] = {}
        for name in subject.main_crystals():
            both = {who: at_minimum(subject, name, who) for who in found}
            matrices = {who: elastic_constants(both[who], subject.models[who], self.strain) for who in found}
            if self.dft:
                by_dft[name] = self._by_dft(both["student"], subject).tolist()
            for who, matrix in matrices.items():
                found[who][name] = matrix.tolist()
            difference = np.linalg.norm(matrices["student"] - matrices["teacher"])
            errors[name] = 100.0 * float(difference / np.linalg.norm(matrices["teacher"]))
            if _softest(matrices["student"]) <= 0.0 < _softest(matrices["teacher"]):
                notes.append(f"{name} is unstable by the final potential only")
        if not errors:
            return None
        worst = max(errors, key=lambda name: errors[name])
        notes = [f"worst: {worst}", *notes, *(f"{name}: {_off_dft(found, by_dft, name)}" for name in by_dft)]
        ours, theirs = found["student"], found["teacher"]
        return Measured(errors[worst], self.unit, "; ".join(notes), ours, theirs, by_dft or None)

    def _by_dft(self, crystal: AtomStructure, subject: Subject) -> FloatArray:
        cells = strained_cells(crystal, subject.student, self.strain)
        return _from_stresses(ReferenceMethod(subject).evaluate(cells), self.strain)


def at_minimum(subject: Subject, name: str, who: str) -> AtomStructure:
    """A named crystal, cell and atoms relaxed by `student` or `teacher`, once."""
    crystal, model = subject.named_crystals()[name], subject.models[who]
    found: AtomStructure = subject.once(("minimum", name, who), lambda: relaxed_cell(crystal, model))
    return found


def elastic_constants(crystal: AtomStructure, potential: Potential, strain: float) -> FloatArray:
    """(6, 6), GPa, Voigt order xx yy zz yz xz xy, symmetrised; by central differences of the stress."""
    return _from_stresses(potential.evaluate(strained_cells(crystal, potential, strain)), strain)


def strained_cells(crystal: AtomStructure, potential: Potential, strain: float) -> list[AtomStructure]:
    """Both signs of each of six components, in turn, the atoms relaxed where there are several."""
    cells = [strained(crystal, sign * _tensor(j, strain)) for j in range(6) for sign in (1.0, -1.0)]
    if len(crystal) > 1:
        cells = downhill(cells, potential, _RELAXATION_STEPS)
    return cells


def _from_stresses(found: Sequence[Labels], strain: float) -> FloatArray:
    stresses = [labels.stress for labels in found]
    columns = [(stresses[2 * j] - stresses[2 * j + 1]) / (2.0 * strain) for j in range(6)]  # type: ignore[operator]
    matrix = GPA_PER_EV_PER_CUBIC_ANGSTROM * np.array(columns)
    return np.asarray(0.5 * (matrix + matrix.T))


def _tensor(component: int, strain: float) -> FloatArray:
    """(3, 3): one Voigt component; a shear is spread over both off-diagonal places."""
    a, b = _VOIGT[component]
    tensor = np.zeros((3, 3))
    tensor[a, b] += 0.5 * strain
    tensor[b, a] += 0.5 * strain
    return tensor


def _softest(matrix: FloatArray) -> float:
    """The smallest eigenvalue: a crystal is stable against strains where it is positive (Born)."""
    return float(np.linalg.eigvalsh(matrix)[0])


def _off_dft(
    found: Mapping[str, Mapping[str, list[list[float]]]], by_dft: Mapping[str, list[list[float]]], name: str
) -> str:
    own, theirs = np.array(found["student"][name]), np.array(by_dft[name])
    return f"{100.0 * np.linalg.norm(own - theirs) / np.linalg.norm(theirs):.1f} % off DFT"
