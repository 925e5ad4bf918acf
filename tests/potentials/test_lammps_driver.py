"""ACE potentials and their baselines: the same in ASE and in LAMMPS, by every route that this machine has."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from pydantic import TypeAdapter, ValidationError

from pyacemaker.baselines import LennardJones, LennardJonesAtom, Zbl
from pyacemaker.errors import ConfigError, EngineMissingError, PotentialFormatError, UnsupportedElementError
from pyacemaker.potentials.ace import ACECalculator, ACEPotential, add_baseline
from pyacemaker.potentials.lammps_driver import LammpsDriver
from pyacemaker.potentials.lammps_ensembles import AnyEnsemble, Npt, Nve, Nvt
from pyacemaker.potentials.lammps_library import has_pace, load_lammps
from pyacemaker.potentials.lammps_styles import pair_commands
from pyacemaker.potentials.loading import load_potential
from pyacemaker.structures import AtomStructure

DATA = Path(__file__).parent.parent / "data" / "ace"
COPPER, ETHANOL = DATA / "cu-zbl-core.yace", DATA / "ethanol-cho-744.yace"
ZBL = Zbl(window=(0.8, 1.9))
"""Windows by covalent radii: others for every pair of elements."""
LJ = LennardJones(
    atoms={
        s: LennardJonesAtom(epsilon=e, sigma=d)
        for s, e, d in (("C", 0.01, 2.4), ("H", 0.004, 1.9), ("O", 0.02, 2.2))
    },
    cutoff=4.0,
)


def alloy():
    atoms = bulk("C", "fcc", a=3.4, cubic=True) * (2, 2, 2)
    atoms.symbols = list(itertools.islice(itertools.cycle("CHO"), len(atoms)))
    atoms.rattle(0.08, seed=3)
    return AtomStructure.from_atoms(atoms)


def copper(*, general=False):
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    if general:  # no vector along an axis, and left-handed: LAMMPS has to turn it
        atoms = bulk("Cu") * (3, 3, 3)
        atoms.set_cell(
            atoms.cell.array + 0.2 * np.random.default_rng(0).normal(size=(3, 3)), scale_atoms=True
        )
    atoms.rattle(0.1, seed=1)
    return AtomStructure.from_atoms(atoms)


def slab():
    atoms = fcc111("Cu", (3, 4, 3), vacuum=6.0)
    atoms.rattle(0.05, seed=2)
    atoms.pbc = [True, True, False]
    return AtomStructure.from_atoms(atoms)


def ethanol():
    return AtomStructure.from_atoms(molecule("CH3CH2OH"))


# ---------------------------------------------------------------- the potential's file


@pytest.mark.parametrize("baseline", [ZBL, LJ], ids=["zbl", "lj"])
def test_one_file_holds_potential_and_baseline(baseline, tmp_path):
    bare = ACEPotential.from_yace(ETHANOL)
    path = tmp_path / "potential.yace"
    bare.with_baseline(baseline).to_yace(path)
    again = load_potential(path)
    assert again.baseline == baseline
    for structure in (alloy(), ethanol()):
        expected = bare.evaluate([structure])[0] + baseline.evaluate([structure])[0]
        found = again.evaluate([structure])[0]
        assert found.energy == pytest.approx(expected.energy, rel=1e-14)
        assert found.forces == pytest.approx(expected.forces, abs=1e-11)
        assert found.energies == pytest.approx(expected.energies)
        if structure.is_periodic:
            assert found.stress == pytest.approx(expected.stress, abs=1e-13)
        atoms = structure.to_atoms()
        atoms.calc = ACECalculator(path)
        assert atoms.get_potential_energy() == found.energy
        assert (atoms.get_forces() == found.forces).all()
    assert (
        bare.with_baseline(baseline).evaluate([alloy()], processes=2)[0].energy
        == again.evaluate([alloy()])[0].energy
    )


def test_other_readers_see_the_same_potential(tmp_path):
    """The baseline is one more key, which `pair_style pace` passes over; the rest stays to the byte."""
    path = tmp_path / "potential.yace"
    ACEPotential.from_yace(ETHANOL).to_yace(path)
    before = path.read_text()
    add_baseline(path, None)
    assert path.read_text() == before
    add_baseline(path, ZBL)
    text = path.read_text()
    assert text.startswith(before)
    assert text[len(before) :].startswith('baseline: {"kind": "zbl", "window": [0.8, 1.9]')


def test_an_unknown_baseline_is_refused(tmp_path):
    path = tmp_path / "potential.yace"
    path.write_text(COPPER.read_text() + "baseline: {kind: magic}\n")
    with pytest.raises(PotentialFormatError, match=r"potential\.yace: the key 'baseline' holds no baseline"):
        ACEPotential.from_yace(path)


# ---------------------------------------------------------------- commands


def test_a_bare_potential_is_one_pair_style():
    assert pair_commands(ACEPotential.from_yace(COPPER), ["Cu"]) == [
        "pair_style pace",
        "pair_coeff * * potential.yace Cu",
    ]


def test_every_window_is_a_style_of_its_own():
    potential = ACEPotential.from_yace(ETHANOL).with_baseline(Zbl(window=(0.5, 1.0), unit="angstrom"))
    assert pair_commands(potential, ["H", "O"]) == [
        "pair_style hybrid/overlay pace zbl 0.5 1.0",
        "pair_coeff * * pace potential.yace H O",
        "pair_coeff 1 1 zbl 1 1",
        "pair_coeff 1 2 zbl 1 8",
        "pair_coeff 2 2 zbl 8 8",
    ]
    by_pair = potential.with_baseline(
        Zbl(window=(0.5, 1.0), unit="angstrom", pair_windows={"H-O": (0.4, 0.7)})
    )
    assert pair_commands(by_pair, ["H", "O"])[0] == "pair_style hybrid/overlay pace zbl 0.4 0.7 zbl 0.5 1.0"
    assert "pair_coeff 1 2 zbl 1 1 8" in pair_commands(by_pair, ["H", "O"])


def test_a_baseline_without_a_pair_style_is_refused():
    class Other(Zbl):
        pass

    potential = ACEPotential.from_yace(COPPER)
    with pytest.raises(UnsupportedElementError, match="Cu"):
        pair_commands(potential.with_baseline(LJ), ["Cu"])


@pytest.mark.parametrize(
    ("ensemble", "fix"),
    [
        (Nve(), "nve"),
        (Nvt(temperature=300), "nvt temp 300.0 300.0 0.1"),
        (Nvt(temperature=300, final_temperature=900, damping=50), "nvt temp 300.0 900.0 0.05"),
        (
            Npt(temperature=300, pressure=0.0, final_pressure=2.0),
            "npt temp 300.0 300.0 0.1 iso 0.0 20000.0 1.0",
        ),
    ],
)
def test_ensembles_in_the_units_of_lammps(ensemble, fix):
    """fs → ps, GPa → bar."""
    assert ensemble.fix() == fix
    assert TypeAdapter(AnyEnsemble).validate_python(ensemble.model_dump()) == ensemble


def test_a_temperature_must_be_positive():
    with pytest.raises(ValidationError):
        Nvt(temperature=0)


# ---------------------------------------------------------------- in LAMMPS


@pytest.fixture
def lammps():
    try:
        return load_lammps()
    except EngineMissingError as error:
        pytest.skip(str(error))


CASES = {
    "cubic": (copper, COPPER, None),
    "any cell": (lambda: copper(general=True), COPPER, None),
    "slab": (slab, COPPER, None),
    "three elements": (alloy, ETHANOL, None),
    "molecule": (ethanol, ETHANOL, None),
    "zbl below": (alloy, ETHANOL, ZBL),
    "zbl below, molecule": (ethanol, ETHANOL, ZBL),
    "lj below": (alloy, ETHANOL, LJ),
}
ROUTES = [("external", "overlay"), ("external", "python"), ("pace", "overlay")]


@pytest.mark.lammps
@pytest.mark.parametrize("route", ROUTES, ids="-".join)
@pytest.mark.parametrize("case", CASES)
def test_ase_and_lammps_agree(case, route, lammps):
    make, path, baseline = CASES[case]
    structure, potential = make(), ACEPotential.from_yace(path).with_baseline(baseline)
    expected = potential.evaluate([structure])[0]
    try:
        driver = LammpsDriver(structure, potential, route=route[0], baseline_route=route[1])
    except EngineMissingError as error:
        pytest.skip(str(error))
    with driver:
        found = driver.labels()
    exact = 1e-9 if route[0] == "external" else 1e-6  # pace has its own tables of splines
    assert found.energy == pytest.approx(expected.energy, rel=exact)
    assert np.abs(found.forces - expected.forces).max() < 1e-6
    if structure.pbc.all():
        assert found.stress == pytest.approx(
            expected.stress, rel=1e-6, abs=1e-6 * np.abs(expected.stress).max()
        )
    else:
        assert found.stress is None


def test_a_baseline_changes_something_in_every_case():
    for structure in (alloy(), ethanol()):
        for baseline in (ZBL, LJ):
            assert np.abs(baseline.evaluate([structure])[0].forces).max() > 1e-3


@pytest.mark.lammps
@pytest.mark.parametrize("baseline", [None, ZBL], ids=["core", "overlay"])
def test_energy_is_conserved_at_constant_energy(baseline, lammps):
    potential = ACEPotential.from_yace(COPPER).with_baseline(
        baseline and Zbl(window=(1.0, 2.4), unit="angstrom")
    )
    with LammpsDriver(copper(), potential) as driver:
        states = driver.run(Nve(steps=200, timestep=0.3, interval=50, start_temperature=600))
    assert [state.step for state in states] == [0, 50, 100, 150, 200]
    assert states[0].temperature == pytest.approx(600)
    total = [state.total_energy for state in states]
    kinetic = states[0].total_energy - states[0].potential_energy
    assert np.ptp(total) < 2e-3 * kinetic
    assert np.ptp([state.potential_energy for state in states]) > 0.05 * kinetic


@pytest.mark.lammps
def test_states_are_those_of_the_trajectory(lammps):
    potential = ACEPotential.from_yace(COPPER)
    with LammpsDriver(copper(general=True), potential) as driver:
        for state in driver.run(Nve(steps=20, timestep=1.0, interval=10, start_temperature=300)):
            again = potential.evaluate([state.structure])[0].energy
            assert state.potential_energy == pytest.approx(again, rel=1e-10)


@pytest.mark.lammps
def test_a_ramp_heats_and_a_barostat_finds_the_pressure(lammps):
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    atoms.rattle(0.02, seed=5)
    potential = ACEPotential.from_yace(COPPER)
    with LammpsDriver(AtomStructure.from_atoms(atoms), potential) as driver:
        first = driver.run(Nvt(temperature=300, steps=300, timestep=2.0, interval=50, start_temperature=600))
        ramp = driver.run(
            Nvt(temperature=300, final_temperature=900, steps=600, timestep=2.0, interval=50, damping=40)
        )
        squeezed = driver.run(
            Npt(
                temperature=900,
                final_temperature=300,
                pressure=0.0,
                final_pressure=10.0,
                steps=900,
                timestep=2.0,
                interval=50,
                pressure_damping=200,
            )
        )
    assert np.mean([s.temperature for s in first[-3:]]) == pytest.approx(300, rel=0.3)
    assert np.mean([s.temperature for s in ramp[-3:]]) == pytest.approx(870, rel=0.2)
    assert ramp[0].step == 300
    assert ramp[6].temperature == pytest.approx(600, rel=0.25)  # halfway: the ramp runs over all chunks
    assert np.mean([s.pressure for s in squeezed[-4:]]) == pytest.approx(9.5, abs=3)
    volume = [s.structure.volume for s in squeezed]
    assert volume[-1] < 0.98 * volume[0]


@pytest.mark.lammps
def test_errors_come_out_of_lammps(lammps):
    potential = ACEPotential.from_yace(COPPER)
    with pytest.raises(UnsupportedElementError, match="does not cover"):
        LammpsDriver(alloy(), potential)
    with LammpsDriver(slab(), potential) as driver:
        with pytest.raises(ConfigError, match="three periodic directions"):
            driver.run(Npt(temperature=300))
        assert np.isfinite(driver.labels().energy)
        if not has_pace(driver.lmp):
            with pytest.raises(EngineMissingError, match="no pair style pace"):
                LammpsDriver(slab(), potential, route="pace")


@pytest.mark.lammps
@pytest.mark.parametrize("baseline", [None, ZBL], ids=["core", "overlay"])
@pytest.mark.parametrize("route", ["external", "pace"])
def test_grades_of_every_state(route, baseline, lammps):
    """By `pace/extrapolation` where LAMMPS has it, else in Python; the trajectory is that without grades."""
    from conftest import ROOT
    from pyacemaker.potentials.extrapolation import ActiveSet

    graded = ROOT / "tests" / "data" / "active_set" / "cu-chebexpcos-82.asi"
    potential = ACEPotential.from_yace(DATA / "cu-chebexpcos-82.yace").with_baseline(baseline)
    active = ActiveSet.load(graded, potential)
    runs = {}
    for name, wanted in (("graded", active), ("plain", None)):
        try:
            driver = LammpsDriver(copper(), potential, route=route, active_set=wanted)
        except EngineMissingError as error:
            pytest.skip(str(error))
        with driver:
            if wanted is not None:
                has = driver.lmp.has_style("pair", "pace/extrapolation")
                assert driver.graded_by == ("lammps" if route == "pace" and has else "python")
                expected = potential.evaluate([copper()])[0]
                assert driver.labels().energy == pytest.approx(expected.energy, rel=1e-9)
                assert np.abs(driver.labels().forces - expected.forces).max() < 1e-6
            runs[name] = driver.run(Nve(steps=10, interval=5, start_temperature=300))
    for state, plain in zip(runs["graded"], runs["plain"], strict=True):
        assert state.gamma.shape == (len(copper()),)
        assert state.gamma == pytest.approx(active.grades([state.structure])[0], rel=1e-6)
        assert state.total_energy == pytest.approx(plain.total_energy, rel=1e-9)
        assert state.structure.positions == pytest.approx(plain.structure.positions, abs=1e-7)
        assert plain.gamma is None
