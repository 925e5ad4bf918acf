"""Structures that no selection may leave out, and those that every system gets."""

from collections.abc import Iterable

from pyacemaker.generators.dimers import dimer_curves, isolated_atoms
from pyacemaker.structures import AtomStructure, Dataset

REACTION_ANCHORS = ("reactant", "product", "ts")
"""Both ends of a reaction and its transition-state guess."""
CRYSTAL_ANCHORS = ("crystal/minimum", "crystal/prototype_minimum", "alloy/minimum")
"""The cell that a crystal or an alloy is made from, and the minima of competing prototypes."""

MOLECULE_ANCHORS = ("molecule/minimum",)
"""The molecule at rest."""

ANCHOR_TAGS = REACTION_ANCHORS + MOLECULE_ANCHORS + CRYSTAL_ANCHORS
"""Tags of the structures that every active set contains."""


def always(elements: Iterable[str], inputs: Iterable[AtomStructure] = ()) -> Dataset:
    """What every system gets, whatever its generators: the isolated atoms, and the dimers of all pairs.

    elements: chemical symbols; those of `inputs`, the user's structures, are added. The isolated atoms are
    labelled for the reference energies in any case; the dimers are candidates like others, tag `dimer`.
    """
    symbols = {*elements, *Dataset(inputs).elements}
    return isolated_atoms(symbols) + dimer_curves(symbols)
