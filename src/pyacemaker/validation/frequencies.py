"""Do molecules and transition states vibrate as by the teacher?"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from pyacemaker.generators.bonds import bonds_of
from pyacemaker.generators.normal_modes import NormalModes, normal_modes
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, FloatArray
from pyacemaker.validation.gate import Gate, Limit, Measured, ReferenceMethod, Subject
from pyacemaker.validation.reaction_profile import profile

WAVENUMBER = 521.4708983725064
"""cm⁻¹ of a mode with ω² = 1 eV/Å²/u: √(eV/u)/Å over 2πc (CODATA 2018)."""
_STILL = 0.01  # eV/Å
_STEPS = 300
_SADDLE_STEPS = 40
_LONGEST_STEP = 0.1  # Å


class Frequencies(Gate):
    """Wavenumbers of molecules, of both ends of reactions and of their transition states, harmonic.

    Each model at its own stationary point: minima by BFGS, saddles by following the softest mode uphill from
    the model's own path. value: the largest of the root mean square differences from the teacher's. What the
    teacher has no stationary point for is left out; where only the final potential has none, the gate fails.
    """

    name: ClassVar[str] = "frequencies"
    unit: ClassVar[str] = "cm⁻¹"
    limit: Limit = 100.0
    """cm⁻¹."""
    dft: bool = False
    """Whether the reference method's wavenumbers are computed at the teacher's stationary points as well: six
    labels per atom of each, 108 for a reaction of six atoms."""

    def measure(self, subject: Subject) -> Measured | None:
        """Wavenumbers by both models."""
        if not len(subject.molecules) and not subject.reactions:
            return None
        modes = {who: stationary_points(subject, who) for who in subject.models}
        found = {who: {name: _wavenumbers(one) for name, one in by.items()} for who, by in modes.items()}
        dft = self._by_dft(modes["teacher"], subject) if self.dft else None
        missing = sorted(found["teacher"].keys() - found["student"].keys())
        errors = {name: _rms(found, name) for name in found["teacher"] if name in found["student"]}
        if not found["teacher"]:
            return None
        if missing:
            note = f"the final potential has no such stationary point: {', '.join(missing)}"
            return Measured(
                None, self.unit, note, student=found["student"], teacher=found["teacher"], broken=True
            )
        worst = max(errors, key=lambda name: errors[name])
        other = [
            name
            for name in errors
            if np.sum(np.array(found["student"][name]) < 0) != np.sum(np.array(found["teacher"][name]) < 0)
        ]
        notes = [f"worst: {worst}", *(f"{name} has another number of imaginary modes" for name in other)]
        if dft is not None:
            off = max(_rms({**found, "teacher": dft}, name) for name in errors)
            notes.append(f"at most {off:.0f} cm⁻¹ off DFT")
        ours, theirs = found["student"], found["teacher"]
        return Measured(errors[worst], self.unit, "; ".join(notes), ours, theirs, dft)

    @staticmethod
    def _by_dft(points: Mapping[str, NormalModes], subject: Subject) -> dict[str, list[float]]:
        reference = ReferenceMethod(subject)
        return {name: _wavenumbers(normal_modes(one.structure, reference)) for name, one in points.items()}


def stationary_points(subject: Subject, who: str) -> dict[str, NormalModes]:
    """The modes of `student` or `teacher` by name of the stationary point: `0 ts CH3ClF`."""
    model = subject.models[who]
    starts = {f"{k} {one.formula}": one for k, one in enumerate(subject.molecules) if len(one) > 1}
    found = {name: minimum(start, model) for name, start in starts.items()}
    for number, reaction in enumerate(subject.reactions):
        formula = reaction.reactant.formula
        found[f"{number} reactant {formula}"] = minimum(reaction.reactant, model)
        found[f"{number} product {formula}"] = minimum(reaction.product, model)
        found[f"{number} ts {formula}"] = saddle(profile(subject, number, who).transition_state, model)
    return {name: modes for name, modes in found.items() if modes is not None}


def minimum(start: AtomStructure, model: Potential) -> NormalModes | None:
    """The modes at the nearest minimum; None where it has other bonds than the start or is not reached."""
    from ase.optimize import BFGS

    atoms = start.to_atoms()
    atoms.calc = model.calculator()
    converged = BFGS(atoms, logfile=None, maxstep=_LONGEST_STEP).run(fmax=_STILL, steps=_STEPS)
    found = start.replace(positions=atoms.get_positions(), labels=None)
    return normal_modes(found, model) if converged and bonds_of(found) == bonds_of(start) else None


def saddle(start: AtomStructure, model: Potential) -> NormalModes | None:
    """The modes at the nearest saddle of first order; None where none is reached.

    Newton steps in the normal modes, uphill along the softest and downhill along all others (eigenvector
    following: Cerjan, Miller, J. Chem. Phys. 75, 2800 (1981)).
    """
    point = start
    for _ in range(_SADDLE_STEPS):
        modes = normal_modes(point, model)
        forces = model.evaluate([point])[0].forces
        if not np.isfinite(forces).all() or not len(modes):
            return None
        if float(np.linalg.norm(forces, axis=1).max()) < _STILL:
            return modes if int(np.sum(modes.stiffness < 0.0)) == 1 else None
        pull = np.tensordot(modes.directions, forces, axes=2)
        amplitudes = pull / np.maximum(np.abs(modes.stiffness), 0.05)
        amplitudes[0] *= -1.0
        shift = np.tensordot(amplitudes, modes.directions, axes=1)
        longest = float(np.linalg.norm(shift, axis=1).max())
        moved = point.positions + shift * min(1.0, _LONGEST_STEP / max(longest, 1e-12))
        point = point.replace(positions=moved, labels=None)
    return None


def _wavenumbers(modes: NormalModes) -> list[float]:
    values: FloatArray = WAVENUMBER * np.sign(modes.stiffness) * np.sqrt(np.abs(modes.stiffness))
    return [float(value) for value in np.sort(values)]


def _rms(found: Mapping[str, Mapping[str, list[float]]], name: str) -> float:
    ours, theirs = np.array(found["student"][name]), np.array(found["teacher"][name])
    return float(np.sqrt(np.mean((ours - theirs) ** 2))) if ours.shape == theirs.shape else float("nan")
