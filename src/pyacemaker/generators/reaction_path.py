"""From one end of a reaction to the other: relaxed ends, the path between them, its transition state."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pyacemaker.errors import ConfigError, DataError
from pyacemaker.generators.bonds import Bond, bond_length, bonds_of
from pyacemaker.generators.geodesic import geodesic_path
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Dataset, FloatArray

log = logging.getLogger(__name__)

_RELAXED = 0.03  # eV/Å
_RELAXATION_STEPS = 200
_NEB_IMAGES = 9
_NEB_SPRING = 1.0  # eV/Å²


@dataclass(frozen=True)
class Reaction:
    """Both ends, and the bonds (fixed atom, moving atom) that break and form between them."""

    reactant: AtomStructure
    product: AtomStructure
    breaking: tuple[Bond, ...]
    forming: tuple[Bond, ...]

    @classmethod
    def between(
        cls,
        reactant: AtomStructure,
        product: AtomStructure,
        breaking: Sequence[Bond] | None = None,
        forming: Sequence[Bond] | None = None,
    ) -> "Reaction":
        """A reaction between two structures; bonds not given are those that only one of the ends has.

        Raises `DataError` for ends that do not hold the same atoms in the same order, and `ConfigError` for
        bonds that name no pair of atoms or where no bond breaks or forms.
        """
        _check_ends(reactant, product)
        before, after = bonds_of(reactant), bonds_of(product)
        broken = sorted(before - after) if breaking is None else list(breaking)
        formed = sorted(after - before) if forming is None else list(forming)
        if not broken and not formed:
            raise ConfigError(
                "reactant and product have the same bonds: name those that change in `breaking` and `forming`"
            )
        _check_bonds([*broken, *formed], len(reactant))
        shared = set(np.ravel(broken).tolist()) & set(np.ravel(formed).tolist())
        return cls(
            reactant,
            product,
            tuple(_from_centre(bond, shared) for bond in broken),
            tuple(_from_centre(bond, shared) for bond in formed),
        )

    @property
    def changing(self) -> tuple[Bond, ...]:
        """The bonds that break, then those that form."""
        return self.breaking + self.forming

    @property
    def kept_bonds(self) -> frozenset[Bond]:
        """Bonds of either end that neither break nor form."""
        changing = {tuple(sorted(bond)) for bond in self.changing}
        return frozenset((bonds_of(self.reactant) | bonds_of(self.product)) - changing)

    def equilibrium_length(self, bond: Bond) -> float:
        """Å: the bond's length at the end where it is shorter."""
        return min(bond_length(end.positions, bond) for end in (self.reactant, self.product))

    def relaxed(self, teacher: Potential) -> "Reaction":
        """Both ends relaxed by `teacher`, the product turned onto the reactant.

        An end that would react while it relaxes (the teacher has no minimum there) keeps the lengths of the
        bonds that it does not have.
        """
        reactant = relax_in_place(self.reactant, teacher, held=self.forming)
        product = relax_in_place(self.product, teacher, held=self.breaking)
        return replace(self, reactant=reactant, product=_turned_onto(reactant, product))


def _check_ends(reactant: AtomStructure, product: AtomStructure) -> None:
    if reactant.symbols != product.symbols:
        raise DataError(
            f"the reactant holds the atoms {' '.join(reactant.symbols)}, the product "
            f"{' '.join(product.symbols)}: give both the same atoms in the same order"
        )
    if reactant.is_periodic or product.is_periodic:
        raise DataError("a reaction's ends are molecules, but one is periodic: set pbc to F F F in its file")
    if (reactant.charge, reactant.multiplicity) != (product.charge, product.multiplicity):
        raise DataError(
            f"the reactant has charge {reactant.charge} and multiplicity {reactant.multiplicity}, the "
            f"product {product.charge} and {product.multiplicity}: make them equal in the files, or set "
            "`charge` and `multiplicity`"
        )


def _check_bonds(bonds: Sequence[Bond], n_atoms: int) -> None:
    for bond in bonds:
        if bond[0] == bond[1] or not all(0 <= atom < n_atoms for atom in bond):
            raise ConfigError(
                f"the bond {list(bond)} names no pair of atoms: give two different indices from 0 "
                f"to {n_atoms - 1}"
            )


def _from_centre(bond: Bond, shared: set[int]) -> Bond:
    """The bond with the atom that both kinds of bond share first, so that the other one moves."""
    return (bond[1], bond[0]) if bond[1] in shared and bond[0] not in shared else bond


def relax_in_place(structure: AtomStructure, teacher: Potential, held: Sequence[Bond] = ()) -> AtomStructure:
    """The nearest minimum with the same bonds; with the lengths of `held` bonds fixed if need be.

    Comes back unrelaxed, with a warning, where even that changes the bonds.
    """
    bonds = bonds_of(structure)
    for constraint in [(), tuple(held)] if held else [()]:
        relaxed = relax(structure, teacher, constraint)
        if bonds_of(relaxed) == bonds:
            return relaxed
        held_now = f"with {len(constraint)} bond lengths held" if constraint else "freely"
        log.info("%s: its bonds change when the teacher relaxes it %s", structure.tag, held_now)
    log.warning("%s has no minimum with its bonds on this potential and stays as given", structure.tag)
    return structure


def relax(
    structure: AtomStructure,
    teacher: Potential,
    held: Sequence[Bond] = (),
    steps: int = _RELAXATION_STEPS,
) -> AtomStructure:
    """A local minimum of `teacher` to 0.03 eV/Å, or where `steps` steps led, with `held` lengths fixed."""
    from ase.constraints import FixBondLengths
    from ase.optimize import BFGS

    atoms = structure.to_atoms()
    if held:
        atoms.set_constraint(FixBondLengths([list(bond) for bond in held]))
    atoms.calc = teacher.calculator()
    BFGS(atoms, logfile=None, maxstep=0.1).run(fmax=_RELAXED, steps=steps)
    return structure.replace(positions=atoms.get_positions(), labels=None)


def _turned_onto(target: AtomStructure, structure: AtomStructure) -> AtomStructure:
    from ase.build import minimize_rotation_and_translation

    atoms = structure.to_atoms()
    minimize_rotation_and_translation(target.to_atoms(), atoms)
    return structure.replace(positions=atoms.get_positions())


def reaction_path(
    reaction: Reaction,
    teacher: Potential,
    n_images: int,
    neb_steps: int,
    interpolation: Literal["idpp", "geodesic"] = "idpp",
) -> Dataset:
    """`n_images` structures from end to end, equally spaced, tag `path`.

    A path of nine images, first interpolated so that interatomic distances change evenly (IDPP: Smidstrup
    et al., J. Chem. Phys. 140, 214106 (2014)) and, if asked for, moved onto a geodesic; then `neb_steps`
    steps of a climbing-image nudged elastic band (Henkelman et al., J. Chem. Phys. 113, 9901 (2000)) on
    `teacher`.
    """
    from ase.mep import NEB
    from ase.optimize import FIRE

    images = [reaction.reactant.to_atoms() for _ in range(_NEB_IMAGES - 1)] + [reaction.product.to_atoms()]
    for image in images:  # a calculator each: every one remembers its image's forces
        image.calc = teacher.calculator()
    band = NEB(images, k=_NEB_SPRING, climb=True, method="improvedtangent")
    band.interpolate(method="idpp")
    if interpolation == "geodesic":
        path = np.array([image.get_positions() for image in images])
        for image, positions in zip(images, geodesic_path(reaction.reactant.numbers, path), strict=True):
            image.set_positions(positions)
    if neb_steps:
        FIRE(band, logfile=None).run(fmax=0.05, steps=neb_steps)
    frames = resampled(np.array([image.get_positions() for image in images]), n_images)
    return Dataset(reaction.reactant.replace(positions=frame, tag="path", labels=None) for frame in frames)


def resampled(images: FloatArray, n_images: int) -> FloatArray:
    """(n_images, n, 3): equally spaced along the chain of straight lines through `images` (m, n, 3)."""
    lengths = np.linalg.norm(np.diff(images, axis=0), axis=(1, 2))
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    wanted = np.linspace(0.0, along[-1], n_images)
    segment = np.clip(np.searchsorted(along, wanted, side="right") - 1, 0, len(lengths) - 1)
    fraction = (wanted - along[segment]) / np.maximum(lengths[segment], 1e-12)
    return np.asarray(images[segment] + fraction[:, None, None] * (images[segment + 1] - images[segment]))


def transition_state(reaction: Reaction, path: Dataset, energies: FloatArray) -> AtomStructure:
    """The highest interior maximum of `energies` (eV) along the path, tag `ts`.

    Where the energy has none (no barrier on this potential): the image in which breaking and forming bonds
    are equally stretched.
    """
    interior = np.arange(1, len(path) - 1)
    peaks = interior[
        (energies[interior] > energies[interior - 1]) & (energies[interior] >= energies[interior + 1])
    ]
    if len(peaks):
        best = int(peaks[np.argmax(energies[peaks])])
    else:
        stretch = np.array([_stretch_difference(reaction, image) for image in path])
        best = int(interior[np.argmin(np.abs(stretch[interior]))])
        log.info("no barrier along the path: image %d of %d stands for the transition state", best, len(path))
    return path[best].replace(tag="ts")


def _stretch_difference(reaction: Reaction, image: AtomStructure) -> float:
    """Mean relative length of the breaking bonds minus that of the forming bonds (1 where there are none)."""
    means = []
    for bonds in (reaction.breaking, reaction.forming):
        relative = [bond_length(image.positions, bond) / reaction.equilibrium_length(bond) for bond in bonds]
        means.append(float(np.mean(relative)) if relative else 1.5)
    return means[0] - means[1]
