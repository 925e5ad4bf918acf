"""What sort of system a config is for: told by a file, a composition or a molecule's name."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import yaml
from ase.data import atomic_masses, atomic_numbers

from pyacemaker.errors import ConfigError, DataError
from pyacemaker.generators.prototypes import are_metals, is_molecular, parse_formula
from pyacemaker.structures import AtomStructure
from pyacemaker.structures.formats import read_structures

Kind = Literal["crystal", "alloy", "cell", "molecule", "reaction"]
LARGEST_CRYSTAL = 64
"""Atoms of a cell around which defects and slabs are made; larger ones are explored by molecular dynamics."""


@dataclass(frozen=True)
class System:
    """What a config is for.

    kind: `cell` is a periodic cell that is no small crystal. title: for people. generators: the entries of
    `sample.generators`, each its lines of YAML. elements: sorted symbols. charge: e.
    """

    kind: Kind
    title: str
    generators: tuple[tuple[str, ...], ...]
    elements: tuple[str, ...]
    charge: int = 0

    @classmethod
    def from_structure(cls, path: Path, base_dir: Path, *, melt: bool = False) -> Self:
        """The crystal, alloy or molecule in a file, its last structure; `DataError` for what is none."""
        structure = read_structures(path)[-1]
        elements, file = _elements(structure), written(path, base_dir)
        if not structure.is_periodic:
            _refuse_melt(melt, "a molecule")
            lines = (
                "kind: molecule",
                f"structure: {file}    # one molecule, or several isomers or conformers",
            )
            title = f"the molecule in {path.name}"
            return cls("molecule", title, (lines,), elements, structure.charge)
        title = f"{structure.formula} in {path.name}"
        melted = ("kind: melt", f"structure: {file}")
        if not structure.pbc.all() or len(structure) > LARGEST_CRYSTAL:
            moving = ("kind: md", f"starts: {file}", "temperatures: [300, 600, 1000]", "n_structures: 600")
            return cls("cell", title, (moving, melted) if melt else (moving,), elements)
        crystal = ("kind: crystal", f"structure: {file}    # taken as it is", *_sizes(len(structure)))
        kind, parts = _periodic(elements, crystal, melted, melt=melt)
        return cls(kind, title, parts, elements)

    @classmethod
    def from_composition(cls, formula: str, *, melt: bool = False) -> Self:
        """The crystal, alloy or molecule of a formula; `ConfigError` for what is no formula."""
        try:
            counts = parse_formula(formula)
        except ValueError as error:
            raise ConfigError(f"--composition: {error}") from error
        if is_molecular(counts):
            _refuse_melt(melt, f"the molecule {formula}")
            return cls.from_molecule(formula)
        elements = tuple(sorted(counts))
        crystal = (
            "kind: crystal",
            f"formula: {scalar(formula)}    # of the type that the teacher likes best; or structure: FILE",
        )
        kind, parts = _periodic(elements, crystal, ("kind: melt", f"formula: {scalar(formula)}"), melt=melt)
        return cls(kind, formula, parts, elements)

    @classmethod
    def from_molecule(cls, name: str) -> Self:
        """A molecule by a name or formula that ASE knows; `ConfigError` where it knows none."""
        from pyacemaker.generators.molecule import known_molecules

        try:
            known = known_molecules(name)
        except ValueError as error:
            raise ConfigError(f"--molecule: {error}") from error
        lines = ("kind: molecule", f"molecule: {scalar(name)}    # or structure: FILE")
        return cls("molecule", f"the molecule {name}", (lines,), _elements(known[0]))

    @classmethod
    def from_reaction(cls, reactant: Path, product: Path, base_dir: Path) -> Self:
        """The reaction between two files; `DataError` where one of them is periodic."""
        first = read_structures(reactant)[-1]
        for path in (reactant, product):
            if read_structures(path)[-1].is_periodic:
                raise DataError(
                    f"{path} is periodic: a reaction goes from molecules to molecules; remove its cell, or "
                    "leave --product out"
                )
        lines = (
            "kind: reaction",
            f"reactant: {written(reactant, base_dir)}    # one complex of all reacting molecules",
            f"product: {written(product, base_dir)}    # the same atoms in the same order",
        )
        title = f"the reaction from {reactant.name} to {product.name}"
        return cls("reaction", title, (lines,), _elements(first), first.charge)

    @property
    def is_periodic(self) -> bool:
        """Whether it needs a code for crystals."""
        return self.kind in ("crystal", "alloy", "cell")

    @property
    def is_metallic(self) -> bool:
        """Whether all its elements are metals."""
        return self.is_periodic and are_metals(self.elements)

    @property
    def timestep(self) -> float:
        """fs, for molecular dynamics: what the lightest element allows."""
        lightest = min(float(atomic_masses[atomic_numbers[symbol]]) for symbol in self.elements)
        if lightest < 3.0:
            return 0.5
        return 1.0 if lightest < 20.0 else 2.0


def _periodic(
    elements: tuple[str, ...], crystal: tuple[str, ...], melted: tuple[str, ...], *, melt: bool
) -> tuple[Kind, tuple[tuple[str, ...], ...]]:
    """The kind and the generators of a small crystal: several metals are taken for an alloy."""
    parts = [crystal]
    is_alloy = len(elements) > 1 and are_metals(elements)
    if is_alloy:
        shares = (
            f"elements: [{', '.join(map(scalar, elements))}]    # they share the sites, in all compositions"
        )
        narrower = f"# composition: {{{scalar(elements[0])}: [0.0, 0.3]}}   # to look at some of them only"
        parts.append(("kind: alloy", shares, narrower))
    if melt:
        parts.append(melted)
    return "alloy" if is_alloy else "crystal", tuple(parts)


def _sizes(n_atoms: int) -> tuple[str, ...]:
    """Room for a cell that is larger than the generator's supercells."""
    if n_atoms <= 16:
        return ()
    return (
        f"max_atoms: {2 * n_atoms if n_atoms <= 24 else n_atoms}    # of supercells: DFT pays for every atom",
        f"max_defect_atoms: {max(32, n_atoms)}",
    )


def _refuse_melt(melt: bool, what: str) -> None:
    if melt:
        raise ConfigError(f"--melt is for crystals and alloys, not for {what}: leave it out")


def _elements(structure: AtomStructure) -> tuple[str, ...]:
    return tuple(sorted(set(structure.symbols)))


def written(path: Path, base_dir: Path) -> str:
    """The path as it stands in a config file in `base_dir`, quoted where YAML wants it."""
    return scalar(str(path if path.is_absolute() else Path(os.path.relpath(path, base_dir))))


def scalar(text: str) -> str:
    """A text as a value in YAML, quoted where it needs it: `NO` is a molecule, not false."""
    return yaml.safe_dump(text, width=10_000, allow_unicode=True).splitlines()[0]
