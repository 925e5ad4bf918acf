"""Crystal prototypes: from a formula and the name of a structure type to a cell that is nearly right."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, covalent_radii, reference_states

from pyacemaker.errors import ConfigError
from pyacemaker.generators.atomic_sizes import ionic_bond, is_anion, measured_volume
from pyacemaker.structures import AtomStructure, FloatArray
from pyacemaker.structures.neighbours import Edges, neighbour_list

_Site = tuple[float, float, float]
_CLOSE = 1.633  # ideal c/a of hexagonal close packing


@dataclass(frozen=True)
class Prototype:
    """A structure type.

    spacegroup: its number. sites: for each kind of atom, fractional coordinates from which the space group
    makes all its atoms. counts: atoms of each kind in the reduced formula. c_over_a: of the cell.
    aliases: other names (Strukturbericht, the compound that gave the name).
    """

    name: str
    spacegroup: int
    sites: tuple[tuple[_Site, ...], ...]
    counts: tuple[int, ...]
    c_over_a: float = 1.0
    aliases: tuple[str, ...] = ()


_O, _H, _Q = (0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
_HEX = (1 / 3, 2 / 3, 0.25)

PROTOTYPES = (
    Prototype("fcc", 225, ((_O,),), (1,), aliases=("A1",)),
    Prototype("bcc", 229, ((_O,),), (1,), aliases=("A2",)),
    Prototype("hcp", 194, ((_HEX,),), (1,), _CLOSE, ("A3",)),
    Prototype("sc", 221, ((_O,),), (1,), aliases=("Ah", "simple cubic")),
    Prototype("diamond", 227, ((_O,),), (1,), aliases=("A4",)),
    Prototype("dhcp", 194, ((_O, (1 / 3, 2 / 3, 0.75)),), (1,), 2 * _CLOSE, ("La",)),
    Prototype("beta-tin", 141, ((_O,),), (1,), 0.546, ("A5", "bSn")),
    Prototype("a15", 223, ((_O, (0.25, 0.0, 0.5)),), (1,), aliases=("betaW",)),
    Prototype("omega", 191, ((_O, (1 / 3, 2 / 3, 0.5)),), (1,), 0.62, ("C32 element",)),
    Prototype("rocksalt", 225, ((_O,), (_H,)), (1, 1), aliases=("B1", "NaCl", "halite")),
    Prototype("cesiumchloride", 221, ((_O,), (_H,)), (1, 1), aliases=("B2", "CsCl", "caesiumchloride")),
    Prototype("zincblende", 216, ((_O,), (_Q,)), (1, 1), aliases=("B3", "ZnS", "sphalerite")),
    Prototype(
        "wurtzite", 186, (((1 / 3, 2 / 3, 0.0),), ((1 / 3, 2 / 3, 0.375),)), (1, 1), _CLOSE, ("B4", "ZnO")
    ),
    Prototype("nickelarsenide", 194, ((_O,), (_HEX,)), (1, 1), 1.5, ("B8_1", "NiAs")),
    Prototype("L1_0", 123, ((_O,), (_H,)), (1, 1), 2**0.5, ("CuAu",)),
    Prototype("fluorite", 225, ((_O,), (_Q,)), (1, 2), aliases=("C1", "CaF2", "antifluorite")),
    Prototype("rutile", 136, ((_O,), ((0.305, 0.305, 0.0),)), (1, 2), 0.644, ("C4", "TiO2")),
    Prototype("C11_b", 139, ((_O,), ((0.0, 0.0, 1 / 3),)), (1, 2), 2.45, ("MoSi2",)),
    Prototype("C15", 227, ((_O,), ((0.625, 0.625, 0.625),)), (1, 2), aliases=("MgCu2", "laves")),
    Prototype("L1_2", 221, ((_O,), ((0.0, 0.5, 0.5),)), (1, 3), aliases=("Cu3Au",)),
    Prototype("D0_3", 225, ((_O,), (_Q, _H)), (1, 3), aliases=("Fe3Al", "BiF3")),
    Prototype("D0_22", 139, ((_O,), ((0.0, 0.0, 0.5), (0.0, 0.5, 0.25))), (1, 3), 2.0, ("Al3Ti",)),
    Prototype("D0_19", 194, ((_HEX,), ((5 / 6, 2 / 3, 0.25),)), (1, 3), _CLOSE / 2, ("Ni3Sn",)),
    Prototype(
        "corundum", 167, (((0.0, 0.0, 0.352),), ((0.306, 0.0, 0.25),)), (2, 3), 2.73, ("D5_1", "Al2O3")
    ),
    Prototype("half-heusler", 216, ((_O,), (_Q,), (_H,)), (1, 1, 1), aliases=("C1_b", "MgAgAs")),
    Prototype("heusler", 225, ((_O,), (_H,), (_Q,)), (1, 1, 2), aliases=("L2_1", "AlCu2Mn")),
    Prototype("perovskite", 221, ((_O,), (_H,), ((0.5, 0.5, 0.0),)), (1, 1, 3), aliases=("E2_1", "CaTiO3")),
)
"""Every structure type that a config can name."""

_ELEMENT_DEFAULTS = ("fcc", "bcc", "hcp", "sc", "diamond")
_METALLIC = frozenset({"L1_0", "C11_b", "C15", "L1_2", "D0_3", "D0_22", "D0_19"})
_NON_METALS = frozenset(
    [
        "H",
        "He",
        "B",
        "C",
        "N",
        "O",
        "F",
        "Ne",
        "Si",
        "P",
        "S",
        "Cl",
        "Ar",
        "Ge",
        "As",
        "Se",
        "Br",
        "Kr",
        "Te",
        "I",
        "Xe",
        "At",
        "Rn",
    ]
)
_MOLECULAR = frozenset(["H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I"])
_SMALLEST_VOLUME = 12.0  # Å³ per atom, where only the covalent radius is known; about that of O in oxides
_CHAINS = frozenset(["Se", "Te"])  # threefold chains, which ASE's reference states call hcp
_BOND_BY_NEIGHBOURS = {12: 1.0, 8: 0.97, 6: 0.96, 4: 0.88}
"""Length of a bond over that in close packing, by the number of neighbours (V. M. Goldschmidt, 1928)."""


def parse_formula(formula: str) -> dict[str, int]:
    """Atoms of each element in the reduced formula, in the order in which they are written.

    Raises `ValueError` for what is no formula.
    """
    from ase.formula import Formula

    try:
        counts = Formula(formula).reduce()[0].count()
    except (ValueError, KeyError, ZeroDivisionError):
        counts = {}
    unknown = [symbol for symbol in counts if symbol not in atomic_numbers or symbol == "X"]
    if not counts or unknown:
        what = f"no element is called {' or '.join(unknown)}" if unknown else "it cannot be read"
        raise ValueError(
            f"{formula!r} is no formula of a compound: {what}; write element symbols and whole numbers, as "
            "in Al, MgO or Cu3Au"
        )
    return {str(symbol): int(count) for symbol, count in counts.items()}


def checked_formula(formula: str) -> str:
    """The formula itself; `ValueError` for what is none."""
    parse_formula(formula)
    return formula


def find_prototype(name: str) -> Prototype:
    """The prototype with this name or alias; upper and lower case, - and _ do not matter.

    Raises `ValueError`, with the nearest name, where there is none.
    """
    names = {_plain(alias): p for p in PROTOTYPES for alias in (p.name, *p.aliases)}
    if _plain(name) in names:
        return names[_plain(name)]
    near = difflib.get_close_matches(_plain(name), names, n=1)
    hint = f"did you mean {names[near[0]].name}? Known" if near else "known"
    raise ValueError(f"no prototype is called {name!r}; {hint}: {', '.join(p.name for p in PROTOTYPES)}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def matching_prototypes(counts: Mapping[str, int]) -> tuple[Prototype, ...]:
    """The prototypes with this stoichiometry that the elements may well take.

    Of the elements' prototypes, the five most common; close packing only where all elements are metals.
    """
    wanted = sorted(counts.values())
    found = tuple(p for p in PROTOTYPES if sorted(p.counts) == wanted)
    if wanted == [1]:
        return tuple(p for p in found if p.name in _ELEMENT_DEFAULTS)
    if are_metals(counts):
        return found
    salt = not _MOLECULAR.isdisjoint(counts)
    return tuple(p for p in found if p.name not in _METALLIC and not (salt and p.name == "heusler"))


def are_metals(symbols: Iterable[str]) -> bool:
    """Whether none of the elements is a non-metal or a semiconductor."""
    return _NON_METALS.isdisjoint(symbols)


def ground_state(symbol: str) -> Prototype | None:
    """The prototype of the element's ground state (ASE's reference states), where it is one."""
    if symbol in _CHAINS:
        return None
    reference = reference_states[atomic_numbers[symbol]] or {}
    known = {p.name: p for p in PROTOTYPES}
    return known.get(reference.get("symmetry", ""))


def is_molecular(symbols: Collection[str]) -> bool:
    """Whether an element's ground state is a two-atom molecule, or a compound's likely to be a molecule."""
    if len(symbols) > 1:
        return _MOLECULAR.issuperset(symbols)
    reference = reference_states[atomic_numbers[next(iter(symbols))]]
    return bool(reference and reference["symmetry"] == "diatom")


def prototype_cell(
    counts: Mapping[str, int], prototype: Prototype, a: float | None = None, c_over_a: float | None = None
) -> AtomStructure:
    """The primitive cell of a compound in a structure type, tag: the prototype's name.

    counts: of the reduced formula; of two elements with equal counts the first takes the first kind of site.
    a: Å, of the conventional cell, guessed where it is None: for metals from the elements' volumes, otherwise
    from ionic or covalent radii. c_over_a: of the conventional cell; default: the prototype's own, or the
    element's.
    Raises `ConfigError` where the stoichiometry does not fit.
    """
    symbols = _assigned(counts, prototype)
    ratio = c_over_a or _element_ratio(symbols, prototype) or prototype.c_over_a
    unit = _unit_cell(symbols, prototype, ratio)
    return _scaled(unit, a or _guessed_constant(unit, symbols, prototype)).replace(tag=prototype.name)


def _assigned(counts: Mapping[str, int], prototype: Prototype) -> list[str]:
    """The element on each kind of site."""
    if sorted(counts.values()) != sorted(prototype.counts):
        fitting = ", ".join(p.name for p in matching_prototypes(counts)) or "none that is known"
        formula = "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in counts.items())
        raise ConfigError(
            f"{formula} does not fit the prototype {prototype.name}, whose elements stand as "
            f"{':'.join(str(count) for count in prototype.counts)}; prototypes that fit: {fitting}"
        )
    waiting = list(counts.items())
    found = []
    for wanted in prototype.counts:
        entry = next(item for item in waiting if item[1] == wanted)
        waiting.remove(entry)
        found.append(entry[0])
    return found


def _element_ratio(symbols: list[str], prototype: Prototype) -> float | None:
    reference = reference_states[atomic_numbers[symbols[0]]] or {}
    same = len(symbols) == 1 and reference.get("symmetry") == prototype.name
    return reference.get("c/a") if same else None


def _unit_cell(symbols: list[str], prototype: Prototype, c_over_a: float) -> AtomStructure:
    """The primitive cell for a = 1 Å."""
    from ase.spacegroup import crystal

    labels = [s for s, sites in zip(symbols, prototype.sites, strict=True) for _ in sites]
    basis = [site for sites in prototype.sites for site in sites]
    gamma = 120 if 143 <= prototype.spacegroup <= 194 else 90
    atoms = crystal(
        labels,
        basis,
        spacegroup=prototype.spacegroup,
        cellpar=[1.0, 1.0, c_over_a, 90, 90, gamma],
        primitive_cell=True,
        symprec=1e-3,
    )
    return AtomStructure(atoms.numbers, atoms.positions, np.array(atoms.cell), np.ones(3, dtype=bool))


def _scaled(structure: AtomStructure, factor: float) -> AtomStructure:
    return structure.replace(positions=factor * structure.positions, cell=factor * structure.cell)


def _guessed_constant(unit: AtomStructure, symbols: list[str], prototype: Prototype) -> float:
    """Å: the factor by which the cell for a = 1 Å has to grow."""
    if len(symbols) > 1 and not are_metals(symbols):
        return _constant_from_bonds(unit)
    if len(symbols) == 1 and (own := ground_state(symbols[0])) not in (None, prototype):
        assert own is not None
        ratio = _element_ratio(symbols, own) or own.c_over_a
        return element_bond(symbols[0], own, ratio) * _packing(unit)[1] / _packing(unit)[0]
    total = sum(atomic_volume(symbol) for symbol in unit.symbols)
    return float((total / abs(np.linalg.det(unit.cell))) ** (1 / 3))


def element_bond(symbol: str, prototype: Prototype, c_over_a: float) -> float:
    """Å: the nearest-neighbour distance that an element would have with twelve neighbours."""
    unit = _unit_cell([symbol], prototype, c_over_a)
    nearest, factor = _packing(unit)
    return float(reference_states[atomic_numbers[symbol]]["a"] * nearest / factor)


def _packing(unit: AtomStructure) -> tuple[float, float]:
    """The nearest-neighbour distance, and the factor on bond lengths for that number of neighbours."""
    edges = neighbour_list(unit.positions, unit.cell, unit.pbc, 1.1)
    nearest = float(edges.distances.min())
    neighbours = int(np.sum((edges.i == 0) & (edges.distances < 1.1 * nearest)))
    return nearest, _BOND_BY_NEIGHBOURS.get(neighbours, 0.96)


def _constant_from_bonds(unit: AtomStructure) -> float:
    """Å: neighbours touch: cations and anions by ionic radii, all unlike atoms by covalent ones else.

    Ionic radii (Shannon, 1976) hold for six neighbours; the bond is scaled to the number of anions around the
    cation. Covalent radii: Cordero et al., 2008.
    """
    edges = neighbour_list(unit.positions, unit.cell, unit.pbc, 1.1)
    symbols = np.array(unit.symbols)
    constants = []
    for cation in sorted(set(symbols) - {s for s in symbols if is_anion(s)}):
        for anion in sorted({s for s in symbols if is_anion(s)}):
            bond = ionic_bond(cation, anion)
            between = edges.distances[(symbols[edges.i] == cation) & (symbols[edges.j] == anion)]
            if bond is None or not len(between):
                return _covalent_constant(unit, edges)
            nearest = float(between.min())
            neighbours = np.sum(between < 1.1 * nearest) / np.sum(symbols == cation)
            factor = _BOND_BY_NEIGHBOURS.get(round(float(neighbours)), _BOND_BY_NEIGHBOURS[6])
            constants.append(bond * factor / _BOND_BY_NEIGHBOURS[6] / nearest)
    return max(constants) if constants else _covalent_constant(unit, edges)


def _covalent_constant(unit: AtomStructure, edges: Edges) -> float:
    unlike = unit.numbers[edges.i] != unit.numbers[edges.j]
    radii = covalent_radii[unit.numbers]
    sums = radii[edges.i] + radii[edges.j]
    return float(np.max(sums[unlike] / edges.distances[unlike]))


def atomic_volume(symbol: str) -> float:
    """Å³ per atom of the element's crystal: of its ground state (ASE's reference states), or measured.

    Of elements that are gases, and where nothing is known, 8 R_cov³ (12 at least).
    """
    own = ground_state(symbol)
    if own is None:
        guess = max(float(8.0 * covalent_radii[atomic_numbers[symbol]] ** 3), _SMALLEST_VOLUME)
        return measured_volume(symbol) or guess
    ratio = _element_ratio([symbol], own) or own.c_over_a
    unit = _unit_cell([symbol], own, ratio)
    a = reference_states[atomic_numbers[symbol]]["a"]
    return float(a**3 * abs(np.linalg.det(unit.cell)) / len(unit))


def are_alike(first: AtomStructure, second: AtomStructure) -> bool:
    """Whether two crystals have the same structure type, whatever their cells, sizes and orientation.

    Compared: for every two elements the mean distances to the twenty nearest neighbours, in units of the cube
    root of the volume per atom, to 0.03.
    """
    ours, theirs = _distances(first), _distances(second)
    if set(ours) != set(theirs):
        return False
    pairs = [(ours[key], theirs[key]) for key in ours]
    return all(np.allclose(*_same_length(a, b), rtol=0.0, atol=0.03) for a, b in pairs)


def _same_length(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    least = min(len(a), len(b))
    return a[:least], b[:least]


def _distances(cell: AtomStructure) -> dict[tuple[int, int], FloatArray]:
    length = float(((cell.volume or 0.0) / len(cell)) ** (1 / 3))
    edges = neighbour_list(cell.positions, cell.cell, cell.pbc, 4.0 * length)
    found: dict[tuple[int, int], list[FloatArray]] = {}
    for atom, number in enumerate(cell.numbers.tolist()):
        mine = edges.i == atom
        for other in sorted(set(cell.numbers.tolist())):
            nearest = np.sort(edges.distances[mine & (cell.numbers[edges.j] == other)])[:20]
            found.setdefault((number, other), []).append(nearest / length)
    least = {key: min(len(row) for row in rows) for key, rows in found.items()}
    return {key: np.mean([row[: least[key]] for row in rows], axis=0) for key, rows in found.items()}


def crystal_volume(counts: Mapping[str, int]) -> float:
    """Å³ per formula unit of a crystal, estimated from atomic sizes."""
    types = matching_prototypes(counts)
    if are_metals(counts) or is_molecular(counts) or len(counts) == 1 or not types:
        return sum(n * atomic_volume(symbol) for symbol, n in counts.items())
    cell = prototype_cell(counts, types[0])
    return float(cell.volume or 0.0) * sum(counts.values()) / len(cell)
