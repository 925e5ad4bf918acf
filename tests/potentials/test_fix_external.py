import itertools
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.data import atomic_masses, atomic_numbers
from ase.units import GPa

from pyacemaker.errors import ConfigError, DataError, EngineMissingError, UnsupportedElementError
from pyacemaker.potentials import lammps_library
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.fix_external import FixExternal, box_to_cell, check_instance, lammps_virial

DATA = Path(__file__).parent.parent / "data" / "ace"
COPPER, ETHANOL = DATA / "cu-zbl-core.yace", DATA / "ethanol-cho-744.yace"

BAR = 1e-4 * GPa


# ---------------------------------------------------------------- without LAMMPS


@pytest.mark.parametrize("tilted", [False, True])
def test_the_box_of_lammps_as_cell_vectors(tilted):
    # https://docs.lammps.org/Howto_triclinic.html: a = (lx, 0, 0), b = (xy, ly, 0), c = (xz, yz, lz)
    xy, yz, xz = (0.5, -0.3, 0.8) if tilted else (0.0, 0.0, 0.0)
    cell, periodic = box_to_cell(([-1, 2, 0], [4, 8, 7.5], xy, yz, xz, [1, 0, 1], 0))
    assert cell.tolist() == [[5, 0, 0], [xy, 6, 0], [xz, yz, 7.5]]
    assert periodic.tolist() == [True, False, True]
    assert np.linalg.det(cell) == pytest.approx(5 * 6 * 7.5)


def test_the_virial_in_the_order_of_lammps():
    strain_derivative = np.array([[1.0, 4, 5], [4, 2, 6], [5, 6, 3]])
    assert lammps_virial(strain_derivative) == [-1, -2, -3, -4, -5, -6]


class Settings:
    """What `check_instance` asks a LAMMPS instance for."""

    def __init__(self, units, ranks):
        self.units, self.ranks = units, ranks

    def extract_global(self, name):
        return {"units": self.units}[name]

    def extract_setting(self, name):
        return {"world_size": self.ranks}[name]


def test_one_rank_and_metal_units():
    check_instance(Settings("metal", 1))
    with pytest.raises(ConfigError, match="units real; the potential needs units metal"):
        check_instance(Settings("real", 1))
    with pytest.raises(ConfigError, match="4 MPI ranks"):
        check_instance(Settings("metal", 4))


def test_elements_outside_the_potential():
    with pytest.raises(UnsupportedElementError, match="Ni, which the ACE potential for Cu"):
        FixExternal(COPPER, ["Cu", "Ni"])


# ---------------------------------------------------------------- with LAMMPS


def load_lammps():
    """The class `lammps.lammps`; skips where it cannot be imported."""
    try:
        return lammps_library.load_lammps()
    except EngineMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def start():
    """`start(atoms, elements, callback)` → a LAMMPS instance with these atoms, as LAMMPS orients them."""
    lammps = load_lammps()
    instances = []

    def make(atoms, elements, callback, boundary=None):
        lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
        instances.append(lmp)
        flags = boundary or " ".join("p" if periodic else "f" for periodic in atoms.pbc)
        lmp.commands_string(f"units metal\natom_style atomic\natom_modify map array\nboundary {flags}")
        cell = atoms.cell.array
        lmp.command(
            f"region box prism 0 {cell[0, 0]:.16g} 0 {cell[1, 1]:.16g} 0 {cell[2, 2]:.16g} "
            f"{cell[1, 0]:.16g} {cell[2, 0]:.16g} {cell[2, 1]:.16g}"
        )
        lmp.command(f"create_box {len(elements)} box")
        kinds = [elements.index(symbol) + 1 for symbol in atoms.symbols]
        lmp.create_atoms(len(atoms), None, kinds, atoms.positions.ravel().tolist())
        for kind, symbol in enumerate(elements, start=1):
            lmp.command(f"mass {kind} {atomic_masses[atomic_numbers[symbol]]}")
        lmp.commands_string("pair_style zero 3.0\npair_coeff * *\nfix pf all external pf/callback 1 1")
        lmp.commands_string("fix_modify pf energy yes virial yes\ncompute each all pe/atom fix")
        lmp.set_fix_external_callback("pf", callback, lmp)
        return lmp

    yield make
    for lmp in instances:
        lmp.close()


def alloy():
    atoms = bulk("C", "fcc", a=3.4, cubic=True) * (2, 2, 2)
    atoms.symbols = list(itertools.islice(itertools.cycle("CHO"), len(atoms)))
    atoms.rattle(0.08, seed=3)
    atoms.wrap()
    return atoms


def copper(triclinic=False):
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    if triclinic:
        atoms.set_cell(
            atoms.cell.array + np.array([[0, 0, 0], [0.9, 0, 0], [0.4, -0.7, 0]]), scale_atoms=True
        )
    atoms.rattle(0.1, seed=1)
    atoms.wrap()
    return atoms


def slab():
    atoms = fcc111("Cu", (3, 4, 3), orthogonal=True, vacuum=6.0)
    atoms.rattle(0.05, seed=2)
    atoms.pbc = [True, True, False]
    atoms.wrap()
    return atoms


CASES = {
    "orthogonal": (copper, COPPER, ["Cu"]),
    "triclinic": (lambda: copper(triclinic=True), COPPER, ["Cu"]),
    "slab": (slab, COPPER, ["Cu"]),
    "three elements": (alloy, ETHANOL, ["O", "C", "H"]),
}


@pytest.mark.lammps
@pytest.mark.parametrize("case", CASES)
def test_lammps_sees_what_ase_sees(case, start):
    make, path, elements = CASES[case]
    atoms = make()
    callback = FixExternal(path, elements)
    lmp = start(atoms, elements, callback)
    lmp.command("thermo_style custom step pe pxx pyy pzz pxy pxz pyz")
    lmp.command("run 0")
    callback.check()
    atoms.calc = callback.potential.calculator()
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
    assert lmp.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
    forces = lmp.numpy.extract_atom("f")[: len(atoms)][order]
    assert forces == pytest.approx(atoms.get_forces(), abs=1e-8 * np.abs(forces).max())
    each = lmp.numpy.extract_compute("each", 1, 1)[: len(atoms)][order]
    assert each == pytest.approx(atoms.get_potential_energies(), rel=1e-9, abs=1e-9)
    pressure = np.array([lmp.get_thermo(name) for name in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")])
    stress = atoms.get_stress() / BAR
    assert pressure == pytest.approx(-stress, rel=1e-5, abs=1e-5 * np.abs(stress).max())


@pytest.mark.lammps
@pytest.mark.parametrize("triclinic", [False, True])
def test_nve_conserves_the_energy(triclinic, start):
    callback = FixExternal(COPPER, ["Cu"])
    lmp = start(copper(triclinic), ["Cu"], callback)
    lmp.commands_string(
        "velocity all create 600 7 mom yes\ntimestep 0.001\nfix md all nve\nthermo 1000\nrun 0"
    )
    before, kinetic = lmp.get_thermo("etotal"), lmp.get_thermo("ke")
    lmp.command("run 100")
    callback.check()
    assert abs(lmp.get_thermo("ke") - kinetic) > 0.05 * kinetic
    assert lmp.get_thermo("etotal") == pytest.approx(before, abs=2e-3 * kinetic)


@pytest.mark.lammps
def test_an_error_inside_a_run_is_raised_after_it(start):
    callback = FixExternal(COPPER, ["Cu"])
    lmp = start(alloy(), ["C", "H", "O"], callback)
    lmp.commands_string("fix md all nve\nthermo_modify lost ignore")
    lmp.command("run 0")
    with pytest.raises(DataError, match="type 3, but elements are given for 1 types"):
        callback.check()
    callback.check()
    assert np.isnan(lmp.numpy.extract_atom("f")).any()


@pytest.mark.lammps
def test_other_units_are_refused_inside_a_run():
    lmp = load_lammps()(cmdargs=["-screen", "none", "-log", "none"])
    try:
        with pytest.raises(ConfigError, match="units lj"):
            check_instance(lmp)
    finally:
        lmp.close()


def test_the_potential_may_be_shared():
    potential = ACEPotential.from_yace(COPPER)
    assert FixExternal(potential, ["Cu"]).potential is potential
