"""Structures that no selection may leave out."""

REACTION_ANCHORS = ("reactant", "product", "ts")
"""Both ends of a reaction and its transition-state guess."""
CRYSTAL_ANCHORS = ("crystal/minimum", "crystal/prototype_minimum", "alloy/minimum")
"""The cell that a crystal or an alloy is made from, and the minima of competing prototypes."""

ANCHOR_TAGS = REACTION_ANCHORS + CRYSTAL_ANCHORS
"""Tags of the structures that every active set contains."""
