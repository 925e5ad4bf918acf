"""The B basis of a potential: the same densities, and a `.yaml` file that says all of it."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from ace_bases import make_basis, make_crystal, make_molecule

from conftest import ROOT
from pyacemaker.ace.b_basis import BBasis, b_yaml_text, with_sorted_elements, write_b_yaml
from pyacemaker.ace.basis import basis_of
from pyacemaker.ace.design import Design
from pyacemaker.ace.yace import read_yace
from pyacemaker.errors import PotentialFormatError
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.structures.formats import read_structures

ACE = ROOT / "tests" / "data" / "ace"
GRADED = ROOT / "tests" / "data" / "active_set"


def random_model(rng, elements=("Al", "Cu")):
    basis = make_basis(elements, functions=30, core=False)
    return basis.to_model(rng.normal(size=len(basis)), rng.normal(size=len(elements)))


@pytest.mark.parametrize(
    ("name", "counts"),
    [("cu-chebexpcos-82", (82,)), ("cu-sbessel-500", (500,)), ("ethanol-cho-744", (248, 248, 248))],
)
def test_a_potential_has_as_many_b_functions_as_its_maker_counts(name, counts):
    model = read_yace(ACE / f"{name}.yace")
    assert BBasis.of(model).basis.counts == basis_of(model).counts == counts


def test_the_functions_stand_by_rank_species_radial_index_and_l():
    b = BBasis.of(read_yace(ACE / "ethanol-cho-744.yace"))
    for blocks in b.basis.blocks:
        keys = [(block.rank, *zip(*block.columns, strict=True)) for block in blocks]
        assert keys == sorted(keys)


@pytest.mark.parametrize("elements", [("Al", "Cu"), ("Cu", "Al")])
def test_coefficients_times_functions_are_the_energies(elements):
    rng = np.random.default_rng(4)
    model = random_model(rng, elements)
    b = BBasis.of(model)
    assert b.model.elements == ("Al", "Cu")
    structures = [make_crystal(rng), make_molecule(rng)]
    invariants = Design(b.basis).invariants(structures)
    energies = invariants @ np.concatenate(b.coefficients)[:, 0]
    e0 = dict(zip(model.elements, model.e0, strict=True))
    shift = np.array([e0[symbol] for s in structures for symbol in s.symbols])
    expected = np.concatenate([labels.energies for labels in ACEPotential(model).evaluate(structures)])
    assert energies + shift == pytest.approx(expected, abs=1e-9)


def test_sorting_the_elements_keeps_the_energies():
    rng = np.random.default_rng(5)
    model = random_model(rng, ("Cu", "Al"))
    structure = make_crystal(rng)
    once, sorted_once = (
        ACEPotential(m).evaluate([structure])[0] for m in (model, with_sorted_elements(model))
    )
    assert sorted_once.energy == pytest.approx(once.energy, abs=1e-10)


def test_the_yaml_lists_every_function_in_the_block_of_its_species(tmp_path):
    model = read_yace(GRADED / "cho-order.yace")
    write_b_yaml(model, tmp_path / "p.yaml")
    content = yaml.safe_load((tmp_path / "p.yaml").read_text())
    names = [block["speciesblock"] for block in content["species"]]
    assert names[:9] == ["C", "H", "O", "C H", "C O", "H C", "H O", "O C", "O H"]
    counts = dict.fromkeys("CHO", 0)
    for block in content["species"]:
        for function in block["nbody"]:
            assert set(function["type"].split()) == set(block["speciesblock"].split())
            assert function["type"].split()[0] == block["speciesblock"].split()[0]
            assert len(function.get("lint", ())) == max(len(function["nr"]) - 2, 0)
            counts[function["type"].split()[0]] += 1
    assert tuple(counts.values()) == BBasis.of(model).basis.counts
    assert all("ndensityi" in block for block in content["species"] if " " not in block["speciesblock"])
    assert all("radcoefficients" in block for block in content["species"][:9])


def test_the_reference_has_the_energies_of_the_yaml():
    """Energies that python-ace has from the `.yaml` file are ours without E0."""
    for name, yace in (("cho-order", GRADED), ("cu-chebexpcos-82", ACE)):
        model = read_yace(yace / f"{name}.yace")
        structures = read_structures(GRADED / f"{name}.extxyz")
        import ase.io

        expected = [atoms.info["ref_b_energy"] for atoms in ase.io.read(GRADED / f"{name}.extxyz", ":")]
        without = ACEPotential(replace(model, e0=np.zeros(len(model.elements))))
        assert [labels.energy for labels in without.evaluate(structures)] == pytest.approx(expected, abs=1e-6)


def test_the_same_potential_gives_the_same_text():
    model = read_yace(ACE / "ethanol-cho-744.yace")
    assert b_yaml_text(model) == b_yaml_text(model)


def test_coefficients_that_are_no_invariants_are_refused():
    model = read_yace(ACE / "cu-chebexpcos-82.yace")
    functions = list(model.functions[0])
    number = next(k for k, f in enumerate(functions) if f.rank == 2 and f.ls[0] == 2)
    ctildes = functions[number].ctildes.copy()
    ctildes[0] *= 1.1
    functions[number] = replace(functions[number], ctildes=ctildes)
    with pytest.raises(PotentialFormatError, match="not rotationally invariant"):
        b_yaml_text(replace(model, functions={0: tuple(functions)}))
