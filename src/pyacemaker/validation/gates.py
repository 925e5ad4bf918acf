"""All gates of a run: their settings, measuring them one by one, and what their answers mean together."""

import logging
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from pyacemaker.base import Spec
from pyacemaker.errors import described
from pyacemaker.validation.dimer_walls import DimerWalls
from pyacemaker.validation.elastic import ElasticConstants
from pyacemaker.validation.energy_volume import BulkModulus, EnergyVolume, EquilibriumVolume
from pyacemaker.validation.extensivity import Extensivity
from pyacemaker.validation.extrapolation import ExtrapolationGrade
from pyacemaker.validation.frequencies import Frequencies
from pyacemaker.validation.gate import Gate, Measured, Subject
from pyacemaker.validation.md_stability import MdStability
from pyacemaker.validation.nve_drift import NveDrift
from pyacemaker.validation.parity import Parity
from pyacemaker.validation.phonons import Phonons
from pyacemaker.validation.reaction_profile import Barrier, ReactionEnergy, ReactionPath

log = logging.getLogger(__name__)

Labels = Annotated[int, Field(ge=0, le=50)]


class Gates(Spec):
    """What is examined before a potential is delivered. `null` in a gate's place turns it off.

    Gates with `blocks: true` hold the potential back, the others are named in the verdict.
    """

    path_labels: Labels = 5
    """Labels of the reference method on the path of each reaction: reactant, transition state and product
    first, then others evenly between them; fewer than three: none."""
    volume_labels: Labels = 5
    """Labels of the reference method for each crystal that the settings name, evenly over ±6 % of its volume;
    fewer than five: none."""
    parity: Parity | None = Parity()
    """Errors by tag against DFT."""
    dimer_walls: DimerWalls | None = DimerWalls()
    """Pairs of atoms pushed together; blocks."""
    extensivity: Extensivity | None = Extensivity()
    """Twice the matter, twice the energy; blocks."""
    nve_drift: NveDrift | None = NveDrift()
    """The total energy without a thermostat; blocks."""
    md_stability: MdStability | None = MdStability()
    """Molecular dynamics at the highest temperature; blocks."""
    extrapolation: ExtrapolationGrade | None = ExtrapolationGrade()
    """Extrapolation grades over the pool."""
    energy_volume: EnergyVolume | None = EnergyVolume()
    """Crystals: E(V) is smooth and has one minimum."""
    equilibrium_volume: EquilibriumVolume | None = EquilibriumVolume()
    """Crystals: the volume at the minimum."""
    bulk_modulus: BulkModulus | None = BulkModulus()
    """Crystals: the bulk modulus."""
    elastic_constants: ElasticConstants | None = ElasticConstants()
    """Crystals: all elastic constants."""
    phonons: Phonons | None = Phonons()
    """Crystals: phonon frequencies."""
    path: ReactionPath | None = ReactionPath()
    """Reactions: the energy along the path."""
    barrier: Barrier | None = Barrier()
    """Reactions: the barrier."""
    reaction_energy: ReactionEnergy | None = ReactionEnergy()
    """Reactions: the reaction energy."""
    frequencies: Frequencies | None = Frequencies()
    """Molecules and reactions: harmonic wavenumbers of minima and transition states."""

    def chosen(self) -> Iterator[Gate]:
        """Those that are on, in the order in which they are measured."""
        for name in type(self).model_fields:
            gate = getattr(self, name)
            if isinstance(gate, Gate):
                yield gate

    def label_budget(self, crystals: int, reactions: int, atoms: int = 0) -> int:
        """Labels of the reference method that the gates ask for, at most.

        atoms: in all molecules, and in both ends and the transition states of all reactions.
        """
        stresses = 12 if self.elastic_constants and self.elastic_constants.dft else 0
        hessian = 6 * atoms if self.frequencies and self.frequencies.dft else 0
        volumes = self.volume_labels if self.equilibrium_volume or self.bulk_modulus else 0
        points = self.path_labels if self.path or self.barrier or self.reaction_energy else 0
        return crystals * (volumes + stresses) + reactions * points + hessian


def answer(gate: Gate, subject: Subject) -> dict[str, Any] | None:
    """What one gate measured, as `gates.json` keeps it; None where the question does not apply.

    A gate that fails to measure has not passed: its answer is `broken`, and the note says why.
    """
    try:
        found = gate.measure(subject)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # whatever breaks an examination: its subject has not passed it
        log.warning("the gate %s could not be measured: %s", gate.name, described(error), exc_info=error)
        found = Measured(None, gate.unit, f"could not be measured: {described(error)}", broken=True)
    return None if found is None else found.as_json(gate.name)


def verdicts(gates: Gates, measured: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of every gate that was measured: value, limit, unit, passed, blocks, note and the figures behind it.

    What `metrics.json` holds under `gates`: figures that are numbers or flat mappings of numbers.
    """
    found = {}
    for gate in gates.chosen():
        one = measured.get(gate.name)
        if one is None:
            continue
        passed = not one["broken"] and one["value"] is not None and one["value"] <= gate.limit
        figures = {who: one[who] for who in ("student", "teacher", "dft") if _is_flat(one.get(who))}
        found[gate.name] = {
            "passed": passed,
            "value": one["value"],
            "limit": gate.limit,
            "unit": one["unit"],
            "blocks": gate.blocks,
            "note": one["note"],
            **figures,
        }
    return found


def with_gates(verdict: Mapping[str, Any], judged: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The verdict of a run with its gates: `gates_failed`, `gates_blocking`, and a reason that says so."""
    failed = [name for name, one in judged.items() if not one["passed"]]
    blocking = [name for name in failed if judged[name]["blocks"]]
    found = {**verdict, "gates_failed": failed, "gates_blocking": blocking}
    if blocking:
        because = "; ".join(f"{name} {_words(judged[name])}" for name in blocking)
        before = f"{verdict['reason']}, but" if verdict["passed"] else f"{verdict['reason']}; besides,"
        found["passed"] = False
        cure = "look at the report, or set `blocks: false` for the gate"
        found["reason"] = f"{before} it does not pass {because}: {cure}"
    return found


def _words(one: Mapping[str, Any]) -> str:
    value = "no value" if one["value"] is None else f"{one['value']:.3g}"
    note = f"; {one['note']}" if one["note"] else ""
    return f"({value}, at most {one['limit']:g} {one['unit']}{note})"


def _is_flat(value: Any) -> bool:
    if isinstance(value, dict):
        return all(item is None or isinstance(item, int | float) for item in value.values())
    if isinstance(value, list):
        return len(value) <= 12 and all(item is None or isinstance(item, int | float) for item in value)
    return isinstance(value, int | float)
