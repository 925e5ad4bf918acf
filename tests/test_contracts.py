"""Every oracle, every selector, every generator and every trainer keeps its contract."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule

from pyacemaker.generators import (
    AlloyGenerator,
    CrystalGenerator,
    DimerGenerator,
    DirectGenerator,
    MdGenerator,
    MeltGenerator,
    MoleculeGenerator,
    ReactionGenerator,
)
from pyacemaker.generators.periodic import ThermalMotion
from pyacemaker.oracles import (
    AnyCalculatorOracle,
    EmtOracle,
    LennardJonesOracle,
    MaceOracle,
    Oracle,
    PyscfOracle,
    TbliteOracle,
)
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.selection import DirectSelector, FarthestPointSelector, MaxvolSelector, RandomSelector
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.testing import GeneratorContract, OracleContract, SelectorContract, TrainerContract
from pyacemaker.trainers import AceTrainer, PacemakerTrainer

sys.path.insert(0, str(Path(__file__).parent / "trainers"))
import replay_pacemaker

sys.path.pop(0)

FOUNDATION = Path(__file__).parent / "data" / "sn2_foundation.model"


def rattled(atoms, amplitude, **fields):
    atoms.rattle(amplitude, seed=5)
    return AtomStructure.from_atoms(atoms, **fields)


class TestPyscfHartreeFock(OracleContract):
    gradient_tolerance = 1e-4
    invariance_tolerance = 1e-5

    @pytest.fixture
    def oracle(self) -> Oracle:
        return PyscfOracle(xc="HF", basis="STO-3G", conv_tol=1e-11)

    @pytest.fixture
    def changed_oracle(self) -> Oracle:
        return PyscfOracle(xc="HF", basis="3-21G", conv_tol=1e-11)

    @pytest.fixture
    def structure(self) -> AtomStructure:
        return rattled(molecule("H2O"), 0.1)


class TestPyscfOpenShellDft(OracleContract):
    invariance_tolerance = 2e-3  # the integration grid does not turn with the molecule

    @pytest.fixture
    def oracle(self) -> Oracle:
        return PyscfOracle(xc="PBE", basis="STO-3G", conv_tol=1e-11)

    @pytest.fixture
    def changed_oracle(self) -> Oracle:
        return PyscfOracle(xc="PBE0", basis="STO-3G", conv_tol=1e-11)

    @pytest.fixture
    def structure(self) -> AtomStructure:
        return rattled(molecule("NH2"), 0.05)


class TestTblite(OracleContract):
    invariance_tolerance = 1e-5

    @pytest.fixture
    def oracle(self) -> Oracle:
        return TbliteOracle(accuracy=0.001)

    @pytest.fixture
    def changed_oracle(self) -> Oracle:
        return TbliteOracle(accuracy=0.001, method="GFN1-xTB")

    @pytest.fixture
    def structure(self) -> AtomStructure:
        return rattled(molecule("CH3Cl"), 0.1)


class TestTbliteRadical(TestTblite):
    @pytest.fixture
    def structure(self) -> AtomStructure:
        return rattled(molecule("CH3"), 0.1)


class TestEmtCrystal(OracleContract):
    gradient_tolerance = 1e-3  # the interaction ends with a small step

    @pytest.fixture
    def oracle(self) -> Oracle:
        return EmtOracle()

    @pytest.fixture
    def changed_oracle(self) -> Oracle:
        return EmtOracle(asap_cutoff=True)

    @pytest.fixture
    def structure(self) -> AtomStructure:
        return rattled(bulk("Cu", cubic=True), 0.1)


class TestAnyCalculatorCrystal(TestEmtCrystal):
    @pytest.fixture
    def oracle(self) -> Oracle:
        return AnyCalculatorOracle(calculator="ase.calculators.emt:EMT")

    @pytest.fixture
    def changed_oracle(self) -> Oracle:
        return AnyCalculatorOracle(calculator="ase.calculators.emt:EMT", parameters={"asap_cutoff": True})


class TestLennardJonesCrystal(OracleContract):
    @pytest.fixture
    def oracle(self) -> Oracle:
        return LennardJonesOracle()

    @pytest.fixture
    def changed_oracle(self) -> Oracle:
        return LennardJonesOracle(epsilon=0.02)

    @pytest.fixture
    def structure(self) -> AtomStructure:
        return rattled(bulk("Ar", "fcc", a=5.3), 0.0).replace(
            positions=np.array([[0.0, 0.0, 0.0], [2.5, 2.9, 2.6]]),
            numbers=np.array([18, 18]),
            cell=np.array([[5.3, 0.0, 0.0], [0.3, 5.4, 0.0], [-0.2, 0.4, 5.1]]),
        )


class TestLennardJonesCluster(TestLennardJonesCrystal):
    @pytest.fixture
    def structure(self) -> AtomStructure:
        positions = np.array([[0.0, 0.0, 0.0], [3.7, 0.2, 0.0], [1.7, 3.4, 0.3]])
        return AtomStructure(np.array([18, 18, 18]), positions)


class TestMace(OracleContract):
    gradient_tolerance = 2e-3
    invariance_tolerance = 1e-4

    @pytest.fixture
    def oracle(self) -> Oracle:
        return MaceOracle(model=str(FOUNDATION))

    @pytest.fixture
    def changed_oracle(self, tmp_path) -> Oracle:
        other = tmp_path / "other.model"
        other.write_bytes(FOUNDATION.read_bytes() + b"\0")
        return MaceOracle(model=str(other))

    @pytest.fixture
    def structure(self) -> AtomStructure:
        return rattled(molecule("CH3Cl"), 0.1)


class TestDirect(SelectorContract):
    order_independent = True

    @pytest.fixture
    def selector(self):
        return DirectSelector()


class TestFarthestPoint(SelectorContract):
    order_independent = True

    @pytest.fixture
    def selector(self):
        return FarthestPointSelector()


class TestMaxvol(SelectorContract):
    order_independent = True

    @pytest.fixture
    def selector(self):
        return MaxvolSelector()


class TestRandom(SelectorContract):
    @pytest.fixture
    def selector(self):
        return RandomSelector()


DATA = Path(__file__).parent / "data"
EXAMPLE = Path(__file__).parents[1] / "examples" / "sn2"
BRIEF = ThermalMotion(n_frames=2, interval=2, temperatures=(1.0,))


@pytest.fixture(scope="module")
def teacher_of_metals():
    return MacePotential(DATA / "cual_foundation.model")


@pytest.fixture(scope="module")
def teacher_of_molecules():
    return MacePotential(DATA / "sn2_foundation.model")


def small_melt():
    return MeltGenerator(
        formula="CuAl", n_atoms=8, n_packings=2, densities=(1.0,), motion=BRIEF, quench_steps=2
    )


class TestCrystal(GeneratorContract):
    @pytest.fixture
    def teacher(self, teacher_of_metals):
        return teacher_of_metals

    @pytest.fixture
    def generator(self):
        return CrystalGenerator(
            formula="Al",
            a=4.05,
            competing=(),
            max_atoms=8,
            max_defect_atoms=8,
            n_strains=4,
            n_rattles=2,
            relaxation_steps=2,
            motion=BRIEF,
        )


class TestAlloy(TestCrystal):
    @pytest.fixture
    def generator(self):
        return AlloyGenerator(
            elements=("Al", "Cu"), max_atoms=8, n_compositions=3, n_ordered=1, n_motion=1, motion=BRIEF
        )


class TestMelt(TestCrystal):
    @pytest.fixture
    def generator(self):
        return small_melt()


class TestMd(TestCrystal):
    @pytest.fixture
    def generator(self, tmp_path):
        path = tmp_path / "starts.extxyz"
        write_structures(path, [AtomStructure.from_atoms(bulk("Cu", cubic=True))])
        return MdGenerator(starts=path, n_structures=6, n_trajectories=2, interval=2, equilibration=4)


class TestDimers(TestCrystal):
    closest = 0.2

    @pytest.fixture
    def generator(self):
        return DimerGenerator(elements=("Al", "Cu"))


class TestDirectOfAMelt(TestCrystal):
    closest = 0.2

    @pytest.fixture
    def generator(self):
        return DirectGenerator(generators=(small_melt(),), n=12)


class TestMolecule(GeneratorContract):
    @pytest.fixture
    def teacher(self, teacher_of_molecules):
        return teacher_of_molecules

    @pytest.fixture
    def generator(self):
        return MoleculeGenerator(
            molecule="CH3Cl", md_frames=0, n_thermal=3, n_rattles=2, stretch_points=3, n_orientations=1
        )


class TestReaction(TestMolecule):
    @pytest.fixture
    def generator(self):
        return ReactionGenerator(
            reactant=EXAMPLE / "reactant.xyz",
            product=EXAMPLE / "product.xyz",
            n_path=5,
            neb_steps=0,
            n_path_rattles=4,
            grid_points=3,
            n_rattles=2,
            n_orientations=1,
            md_frames=0,
        )


class TestAceTrainer(TrainerContract):
    @pytest.fixture
    def dataset(self):
        return read_structures(DATA / "cual_small.xyz").filter(lambda structure: len(structure) > 1)

    @pytest.fixture
    def trainer(self):
        return AceTrainer(functions=30, nradbase=6, cutoff=5.0, underdetermined=True, refinement="none")


class TestPacemakerTrainer(TestAceTrainer):
    """With what the real program wrote, which was fitted to energies above these references."""

    @pytest.fixture
    def dataset(self):
        found = read_structures(DATA / "cual_small.xyz").filter(lambda structure: len(structure) > 1)
        shifts = found.reference_energies({"Al": 3.8727649508990667, "Cu": 3.7891296122291442})
        labels = [
            Labels(label.energy - shift, label.forces, label.stress)
            for label, shift in zip(found.labels, shifts, strict=True)
        ]
        return found.with_labels(labels, "shifted")

    @pytest.fixture
    def trainer(self, tmp_path_factory):
        command = replay_pacemaker.install(tmp_path_factory.mktemp("bin"))
        return PacemakerTrainer(
            command=command, cutoff=4.5, functions=12, order=2, maxiter=12, repulsion="pacemaker"
        )
