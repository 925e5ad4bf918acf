"""The gates, on potentials whose answers are known, and what their answers do to a verdict."""

import json

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from gate_models import CalculatorPotential, Springs
from pydantic import ValidationError

from pyacemaker.baselines import Zbl
from pyacemaker.structures import AtomStructure, Dataset, Labels
from pyacemaker.validation.dimer_walls import DimerWalls, deepest_hole, pair_energies
from pyacemaker.validation.elastic import ElasticConstants, elastic_constants
from pyacemaker.validation.energy_volume import (
    BulkModulus,
    Curve,
    EnergyVolume,
    EquilibriumVolume,
    fitted,
    roughness,
    second_minimum,
)
from pyacemaker.validation.extensivity import Extensivity, doubled
from pyacemaker.validation.extrapolation import ExtrapolationGrade
from pyacemaker.validation.frequencies import WAVENUMBER, Frequencies, minimum, saddle
from pyacemaker.validation.gate import Measured, Subject, finite
from pyacemaker.validation.gates import Gates, answer, verdicts, with_gates
from pyacemaker.validation.md_stability import MdStability, calm_starts
from pyacemaker.validation.nve_drift import NveDrift, drift, total_energies
from pyacemaker.validation.parity import Parity
from pyacemaker.validation.phonons import Phonons, frequencies, wave_vectors

COPPER = AtomStructure.from_atoms(bulk("Cu", a=3.61)).replace(tag="crystal/minimum")
METAL = CalculatorPotential(EMT, ("Al", "Cu"))


def argon():
    """LJ argon, cut off where nothing is felt of it."""
    return LennardJones(epsilon=0.0104, sigma=3.4, rc=12.0, smooth=True)


def subject(student, teacher=None, **fields):
    return Subject(student, teacher or student, **{"train": Dataset(), "test": Dataset(), **fields})


# ---------------------------------------------------------------- curves


def test_a_wall_that_only_rises_has_no_hole():
    assert deepest_hole(np.array([9.0, 4.0, 1.0, 0.0])) == 0.0
    assert deepest_hole(np.array([-3.0, 4.0, 1.0, 0.0])) == 7.0
    assert deepest_hole(np.array([2.0, 2.5, 1.0, 1.5])) == 0.5
    assert np.isnan(deepest_hole(np.array([np.nan, 1.0])))


class Dimers(CalculatorPotential):
    """Pairs of atoms by a function of their distance."""

    def __init__(self, energy, elements=("Cu",)):
        super().__init__(None, elements)
        self.energy = energy

    def evaluate(self, structures):
        distances = [np.linalg.norm(s.positions[1] - s.positions[0]) for s in structures]
        return [Labels(self.energy(r), np.zeros((2, 3))) for r in distances]


def test_the_wall_of_nuclei_passes_and_one_that_turns_over_does_not():
    nuclei = Zbl(window=(1.4, 2.2), unit="angstrom")
    zbl = Dimers(lambda r: nuclei.evaluate([AtomStructure([29, 29], [[0, 0, 0], [0, 0, r]])])[0].energy)
    gate = DimerWalls()
    assert gate.measure(subject(zbl)).value == 0.0
    hole = Dimers(lambda r: zbl.energy(r) - 5e3 * np.exp(-((r - 0.6) ** 2) / 0.01))
    found = gate.measure(subject(hole, zbl))
    assert found.value > 100
    assert found.teacher == {"Cu-Cu": 0.0}
    assert found.curves["Cu-Cu"]["angstrom"][0] == 0.5
    assert not verdicts(Gates(), {"dimer_walls": found.as_json("dimer_walls")})["dimer_walls"]["passed"]


def test_every_pair_of_elements_has_a_wall():
    found = DimerWalls().measure(subject(Dimers(lambda r: 1 / r, ("C", "H", "N"))))
    assert set(found.curves) == {"C-C", "C-H", "C-N", "H-H", "H-N", "N-N"}
    assert pair_energies(Dimers(lambda r: 1 / r), ("H", "H"), np.array([0.5, 2.0])).tolist() == [2.0, 0.5]


VOLUMES = np.linspace(14.0, 18.0, 25)


def birch_murnaghan(v, v0=16.0, b=0.5, b1=4.0):
    """Birch, Phys. Rev. 71, 809 (1947); b in eV/Å³."""
    eta = (v0 / v) ** (2 / 3)
    return 9 * v0 * b / 16 * ((eta - 1) ** 3 * b1 + (eta - 1) ** 2 * (6 - 4 * eta))


def test_the_equation_of_state_gives_back_its_parameters():
    found = fitted(Curve(VOLUMES, birch_murnaghan(VOLUMES)))
    assert found.volume == pytest.approx(16.0, rel=1e-5)
    assert found.bulk_modulus == pytest.approx(0.5 * 160.21766, rel=1e-4)
    assert fitted(Curve(VOLUMES, birch_murnaghan(VOLUMES, v0=30.0))) is None


def test_a_kink_and_a_second_valley_are_rough():
    smooth = birch_murnaghan(VOLUMES)
    assert roughness(Curve(VOLUMES, smooth)) < 1e-6
    kinked = smooth.copy()
    kinked[18] += 0.01
    assert 0.005 < roughness(Curve(VOLUMES, kinked)) < 0.01
    assert second_minimum(smooth) == 0.0
    assert second_minimum(np.array([3.0, 1, 0, 2, 0.5, 4])) == 1.5
    assert second_minimum(np.array([0.5, 2, 0, 1])) == 1.5


def test_a_crystal_and_itself_agree_in_everything():
    one = subject(METAL, crystals=Dataset([COPPER]))
    gates = (EnergyVolume(), EquilibriumVolume(), BulkModulus(), ElasticConstants(), Phonons(length=5.0))
    found = {gate.name: gate.measure(one) for gate in gates}
    assert found["energy_volume"].value < 0.5
    for name in ("equilibrium_volume", "bulk_modulus", "elastic_constants", "phonons"):
        assert found[name].value == pytest.approx(0.0, abs=1e-9), name
    # EMT copper: Jacobsen, Stoltze, Nørskov (1996) fitted 3.58 Å and 134 GPa
    assert found["equilibrium_volume"].student["0 Cu"] == pytest.approx(3.589**3 / 4, rel=2e-3)
    assert found["bulk_modulus"].student["0 Cu"] == pytest.approx(134, rel=0.03)
    constants = np.array(found["elastic_constants"].student["0 Cu"])
    bulk_modulus = (constants[0, 0] + 2 * constants[0, 1]) / 3
    assert bulk_modulus == pytest.approx(found["bulk_modulus"].student["0 Cu"], rel=0.02)


def test_dft_is_asked_for_the_main_crystal_only_and_once():
    asked = []

    def dft(cells):
        asked.append(len(cells))
        return METAL.evaluate(cells)

    other = COPPER.replace(tag="crystal/prototype_minimum")
    one = subject(METAL, crystals=Dataset([COPPER, other]), dft=dft, volume_labels=5)
    volume, modulus = (gate().measure(one) for gate in (EquilibriumVolume, BulkModulus))
    assert asked == [5]
    assert set(volume.dft) == {"0 Cu"}
    assert volume.dft["0 Cu"] == pytest.approx(volume.student["0 Cu"], rel=1e-3)
    assert volume.note == "against DFT"
    assert modulus.value < 2.0
    silent = subject(
        METAL, crystals=Dataset([COPPER]), dft=lambda cells: [None] * len(cells), volume_labels=5
    )
    assert EquilibriumVolume().measure(silent).dft is None


# ---------------------------------------------------------------- crystals


def test_a_cubic_crystal_has_three_elastic_constants_with_cauchys_relation_for_pairs():
    """Central pair forces at zero pressure: C12 = C44 (Born, Huang)."""
    model = CalculatorPotential(argon, ("Ar",))
    atoms = bulk("Ar", a=5.26)
    one = subject(model, crystals=Dataset([AtomStructure.from_atoms(atoms).replace(tag="crystal/minimum")]))
    found = np.array(ElasticConstants().measure(one).student["0 Ar"])
    assert found[3, 3] == pytest.approx(found[0, 1], rel=0.05)
    for a, b in ((1, 1), (2, 2)):
        assert found[a, b] == pytest.approx(found[0, 0], rel=1e-3)
    assert np.abs(found[:3, 3:]).max() < 0.01 * found[0, 0]


def test_stresses_by_the_reference_method_give_its_constants():
    asked = []

    def dft(cells):
        asked.append(len(cells))
        return METAL.evaluate(cells)

    one = subject(METAL, crystals=Dataset([COPPER]), dft=dft)
    found = ElasticConstants(dft=True).measure(one)
    assert asked == [12]
    assert np.array(found.dft["0 Cu"]) == pytest.approx(np.array(found.student["0 Cu"]))
    assert "0.0 % off DFT" in found.note
    broken = answer(ElasticConstants(dft=True), subject(METAL, crystals=Dataset([COPPER])))
    assert broken["broken"]
    assert "12 of 12 labels of the reference method are missing" in broken["note"]


def test_shears_are_engineering_strains():
    found = elastic_constants(COPPER, METAL, 0.004)
    half = elastic_constants(COPPER, METAL, 0.002)
    assert found == pytest.approx(half, abs=0.02 * found[0, 0])
    assert found == pytest.approx(found.T)


def test_acoustic_phonons_vanish_at_the_centre_and_nowhere_else():
    points = wave_vectors((3, 3, 3))
    assert len(points) == 14  # the centre and half of the 26 others
    assert points[0].tolist() == [0, 0, 0]
    found = frequencies(COPPER, METAL, (3, 3, 3), points, 0.01)
    assert found.shape == (14, 3)
    assert found[0] == pytest.approx(0.0, abs=0.05)
    assert found[1:].min() > 1.0
    assert found.max() == pytest.approx(7.5, abs=1.5)  # THz; measured 7.3: Svensson et al., Phys. Rev. 155


def test_two_wave_vectors_of_opposite_sign_count_once():
    assert len(wave_vectors((2, 2, 2))) == 8
    assert len(wave_vectors((1, 1, 4))) == 3


# ---------------------------------------------------------------- molecules


def test_a_diatomic_vibrates_at_the_root_of_stiffness_over_reduced_mass():
    model = CalculatorPotential(lambda: Springs({(0, 1): 1.1}, stiffness=50.0), ("N",))
    modes = minimum(AtomStructure([7, 7], [[0, 0, 0], [0, 0, 1.2]]), model)
    reduced = 14.007 / 2
    assert WAVENUMBER * np.sqrt(modes.stiffness[-1]) == pytest.approx(
        WAVENUMBER * np.sqrt(50.0 / reduced), rel=1e-4
    )


class DoubleWell(Springs):
    """Three atoms in a row along z: the middle one between two valleys, harmonic across."""

    def calculate(self, atoms=None, properties=None, system_changes=None):
        super().calculate(atoms, properties, ["positions"])
        x = self.atoms.get_positions()
        s = x[1, 2] - 0.5 * (x[0, 2] + x[2, 2])
        slope = 4.0 * s * (s**2 - 0.09)
        self.results["energy"] += (s**2 - 0.09) ** 2
        self.results["forces"] += np.outer([0.5, -1.0, 0.5], [0, 0, 1]) * slope


def test_a_saddle_is_found_and_a_valley_is_none():
    model = CalculatorPotential(lambda: DoubleWell({(0, 2): 4.0}, 30.0), ("H",))
    start = AtomStructure([1, 1, 1], [[0, 0, -2.0], [0, 0, 0.12], [0, 0, 2.0]])
    modes = saddle(start, model)
    height = modes.structure.positions[1, 2] - modes.structure.positions[[0, 2], 2].mean()
    assert height == pytest.approx(0.0, abs=0.03)
    assert modes.stiffness[0] < 0
    # one atom between two of the same mass: reduced mass 2/3 m; curvature −4 · 0.09
    assert modes.stiffness[0] == pytest.approx(-0.36 / (1.008 * 2 / 3), rel=0.05)


def test_frequencies_of_a_molecule_and_the_same_ten_percent_stiffer():
    water = molecule("H2O")
    lengths = {(i, j): water.get_distance(i, j) for i, j in ((0, 1), (0, 2), (1, 2))}
    soft, stiff = (
        CalculatorPotential(lambda k=k: Springs(lengths, k), ("H", "O")) for k in (30.0, 30.0 * 1.21)
    )
    one = AtomStructure.from_atoms(water).replace(tag="molecule/minimum")
    found = Frequencies().measure(subject(stiff, soft, molecules=Dataset([one])))
    ours, theirs = found.student["0 H2O"], found.teacher["0 H2O"]
    assert np.array(ours) / np.array(theirs) == pytest.approx(1.1, rel=1e-3)
    assert found.value == pytest.approx(0.1 * np.sqrt(np.mean(np.array(theirs) ** 2)), rel=1e-2)
    assert Frequencies().measure(subject(stiff)) is None
    with_dft = Frequencies(dft=True).measure(
        subject(stiff, soft, molecules=Dataset([one]), dft=soft.evaluate)
    )
    assert with_dft.dft["0 H2O"] == pytest.approx(theirs, rel=1e-6)
    assert f"at most {found.value:.0f} cm⁻¹ off DFT" in with_dft.note


# ---------------------------------------------------------------- dynamics and size


def labelled(model, structure):
    return structure.replace(labels=model.evaluate([structure])[0])


def test_conservative_forces_conserve_and_others_do_not():
    lengths = {(i, j): 1.5 for i in range(3) for j in range(i)}
    start = AtomStructure([6, 6, 6], [[0, 0, 0], [1.5, 0, 0], [0.75, 1.3, 0]])
    kept, wrong = (CalculatorPotential(lambda w=w: Springs(lengths, 20.0, w), ("C",)) for w in (0.0, 0.2))
    gate = NveDrift(n_trajectories=1, steps=400, timestep=0.5)
    found = {
        model: gate.measure(subject(model, train=Dataset([labelled(model, start)]), temperature=600.0))
        for model in (kept, wrong)
    }
    assert found[kept].value < 2.0
    assert found[wrong].value > 100.0
    assert len(found[kept].curves["ev_per_atom"][0]) == 401
    assert found[kept].curves["timestep_fs"] == 0.5


def test_the_start_has_its_temperature_and_no_momentum():
    cell = AtomStructure.from_atoms(bulk("Cu", a=3.61, cubic=True) * (3, 3, 3))
    rng = np.random.default_rng(0)
    energies = total_energies(cell, METAL, 900.0, 1.0, 1, 1, rng)
    kinetic = energies[0] - METAL.evaluate([cell])[0].energy / len(cell)
    assert kinetic == pytest.approx(1.5 * 8.617e-5 * 900, rel=0.1)


def test_drift_is_a_slope():
    assert drift(np.array([1.0, 1.5, 2.0]), 0.5) == pytest.approx(1.0)
    assert drift(np.array([1.0, np.nan]), 0.5) == np.inf


def test_a_stable_potential_runs_and_one_that_explodes_is_told():
    start = labelled(METAL, AtomStructure.from_atoms(bulk("Cu", a=3.61, cubic=True)))
    gate = MdStability(n_trajectories=1, steps=30)
    plans = gate.plans(Dataset([start]), 300.0, 0)
    stable = subject(METAL, plans=plans, temperature=300.0, explored=(4, 1))
    found = gate.measure(stable)
    assert (found.value, found.teacher) == (0.0, 25.0)
    assert len(stable.trajectories()[0].frames) == 23
    assert stable.trajectories()[0].steps == 30
    cold = CalculatorPotential(lambda: LennardJones(epsilon=5.0, sigma=3.4, rc=6.0, smooth=True), ("Cu",))
    found = gate.measure(subject(cold, plans=plans, temperature=300.0))
    assert found.value == 100.0
    assert "eV/Å" in found.curves["events"][0]


def test_starts_are_calm_and_no_dimers():
    wild = [
        AtomStructure([6, 6], [[0, 0, 0], [0, 0, 1.5]], tag=tag, labels=Labels(0.0, np.full((2, 3), force)))
        for tag, force in (("a", 3.0), ("dimer", 0.0), ("b", 1.0), ("c", 2.0), ("d", 9.0))
    ]
    assert [s.tag for s in calm_starts(Dataset(wild), 2)] == ["b", "c"]
    assert len(calm_starts(Dataset(), 3)) == 0


def test_twice_the_matter_is_twice_the_energy():
    for structure, model in (
        (AtomStructure.from_atoms(bulk("Cu", cubic=True)), METAL),
        (AtomStructure.from_atoms(molecule("H2O")), CalculatorPotential(EMT, ("H", "O"))),
    ):
        found = Extensivity().measure(subject(model, train=Dataset([labelled(model, structure)])))
        assert found.value < 1e-9
    two = doubled(COPPER, 20.0)
    assert two.volume == pytest.approx(2 * COPPER.volume)


def test_an_energy_per_molecule_is_not_extensive():
    class Shifted(CalculatorPotential):
        def evaluate(self, structures):
            return [Labels(labels.energy + 0.1, labels.forces) for labels in super().evaluate(structures)]

    model = Shifted(EMT, ("H", "O"))
    water = labelled(model, AtomStructure.from_atoms(molecule("H2O")))
    assert Extensivity().measure(subject(model, train=Dataset([water]))).value == pytest.approx(100 / 6)


# ---------------------------------------------------------------- the set


def test_parity_finds_the_kind_of_structure_that_is_described_worst():
    rng = np.random.default_rng(0)
    cells = [AtomStructure.from_atoms(bulk("Cu", cubic=True)) for _ in range(6)]
    cells = [c.replace(positions=c.positions + 0.1 * rng.normal(size=(4, 3))) for c in cells]
    truth = METAL.evaluate(cells)
    tags = ["crystal", "crystal", "melt", "crystal", "melt", "crystal"]
    shifts = [0.2 if tag == "melt" else 0.02 for tag in tags]
    test = Dataset(
        c.replace(tag=tag, labels=Labels(t.energy, t.forces + shift))
        for c, t, tag, shift in zip(cells, truth, tags, shifts, strict=True)
    )
    found = Parity().measure(subject(METAL, test=test))
    rms = np.sqrt(np.mean(np.concatenate([labels.forces.ravel() for labels in test.labels]) ** 2))
    assert found.value == pytest.approx(100 * 0.2 / rms)
    assert "melt (2 structures)" in found.note
    assert found.student["crystal"]["structures"] == 4


def test_a_gate_that_breaks_has_not_passed_and_says_why():
    class Broken(CalculatorPotential):
        def evaluate(self, structures):
            raise RuntimeError("the license server is down")

    found = answer(Extensivity(), subject(Broken(EMT, ("Cu",)), train=Dataset([COPPER])))
    assert found["broken"]
    assert found["note"] == "could not be measured: RuntimeError: the license server is down"
    judged = verdicts(Gates(), {"extensivity": found})
    assert judged["extensivity"]["passed"] is False
    assert with_gates({"passed": True, "reason": "fine"}, judged)["passed"] is False


def test_no_active_set_is_told_and_not_passed():
    found = (
        ExtrapolationGrade()
        .measure(subject(METAL, no_active_set="too few environments"))
        .as_json("extrapolation")
    )
    assert (found["value"], found["broken"], found["note"]) == (None, True, "too few environments")


def test_what_is_not_finite_is_broken_and_json():
    found = Measured(float("nan"), "eV", student=[1.0, float("inf")]).as_json("x")
    assert found["value"] is None
    assert found["broken"]
    assert found["student"] == [1.0, None]
    json.dumps(finite({"a": (np.float64(1.0), float("nan"))}), allow_nan=False)


def gate_facts(value, **changes):
    return {"value": value, "unit": "eV", "note": "", "broken": False, **changes}


def test_limits_decide_and_only_those_that_block_hold_back():
    measured = {"dimer_walls": gate_facts(0.5), "phonons": gate_facts(50.0), "nve_drift": gate_facts(0.1)}
    judged = verdicts(Gates(), measured)
    assert {name: one["passed"] for name, one in judged.items()} == {
        "dimer_walls": False,
        "nve_drift": True,
        "phonons": False,
    }
    found = with_gates({"passed": True, "reason": "better than the base"}, judged)
    assert (found["gates_failed"], found["gates_blocking"]) == (["dimer_walls", "phonons"], ["dimer_walls"])
    assert not found["passed"]
    assert "dimer_walls (0.5, at most 0.001 eV)" in found["reason"]
    warned = verdicts(Gates(dimer_walls=DimerWalls(blocks=False)), measured)
    assert with_gates({"passed": True, "reason": "better"}, warned) == {
        "passed": True,
        "reason": "better",
        "gates_failed": ["dimer_walls", "phonons"],
        "gates_blocking": [],
    }
    assert with_gates({"passed": False, "reason": "worse"}, warned)["passed"] is False


def test_limits_do_not_change_what_is_measured_and_settings_do():
    assert NveDrift(limit=1.0).identity() == NveDrift(limit=9.0, blocks=False).identity()
    assert NveDrift(steps=10).identity() != NveDrift().identity()


def test_a_gate_can_be_turned_off_and_a_limit_must_be_a_number():
    names = [gate.name for gate in Gates.model_validate({"phonons": None, "barrier": {"limit": 10}}).chosen()]
    assert "phonons" not in names
    assert len(names) == len(set(names)) == 14
    with pytest.raises(ValidationError):
        Gates.model_validate({"barrier": {"limit": -1}})
    assert Gates().label_budget(2, 1) == 15
    assert Gates(frequencies=Frequencies(dft=True)).label_budget(0, 1, 18) == 5 + 108
    assert Gates(path=None, barrier=None, reaction_energy=None).label_budget(2, 1) == 10
