"""Structures as periodic codes want them: a right-handed box in three directions, and one k-point grid."""

import math

import numpy as np

from pyacemaker.structures.structure import AtomStructure, FloatArray

ASYMMETRY = (0.0, 0.5, 1.0)
"""Å by which the three lengths of a box differ, so that an atom's shell has no symmetric environment."""

Grid = tuple[int, int, int]


def kpoint_grid(structure: AtomStructure, kspacing: float) -> Grid:
    """The smallest Γ-centred grid whose points are at most `kspacing` (1/Å, 2π included) apart.

    n_i = ⌈2π |b_i| / kspacing⌉ with b_i the reciprocal lattice vectors (a_i·b_j = δ_ij); one point along
    directions that are not periodic.
    """
    if not structure.is_periodic:
        return (1, 1, 1)
    lengths = np.linalg.norm(np.linalg.inv(periodic_cell(structure, vacuum=10.0)), axis=0)
    points = [
        max(1, math.ceil(2 * math.pi * length / kspacing - 1e-6)) if periodic else 1
        for length, periodic in zip(lengths, structure.pbc, strict=True)
    ]
    return (points[0], points[1], points[2])


def boxed(structure: AtomStructure, vacuum: float) -> AtomStructure:
    """The structure in a right-handed cell that is periodic in all directions.

    Along directions that were not periodic the cell is the atoms' extent plus `vacuum` (Å) on both sides, and
    the atoms stand in its middle; lengths differ by `ASYMMETRY`. No atom turns: forces keep their frame. A
    left-handed cell is replaced by its negative, which spans the same lattice.
    """
    if structure.pbc.all():
        cell, positions = np.array(structure.cell), np.array(structure.positions)
    else:
        cell = periodic_cell(structure, vacuum)
        positions = _centred(structure, cell)
    if np.linalg.det(cell) < 0:
        cell = -cell
    return structure.replace(cell=cell, positions=positions, pbc=np.ones(3, dtype=bool))


def periodic_cell(structure: AtomStructure, vacuum: float) -> FloatArray:
    """(3, 3) cell: the structure's own vectors where it is periodic, boxes with vacuum (Å) elsewhere."""
    directions = _directions(structure)
    along = structure.positions @ directions.T
    extents = np.ptp(along, axis=0) + 2 * vacuum + np.array(ASYMMETRY)
    cell = np.where(structure.pbc[:, None], structure.cell, extents[:, None] * directions)
    return np.asarray(cell, dtype=np.float64)


def _directions(structure: AtomStructure) -> FloatArray:
    """(3, 3) unit vectors; those of non-periodic directions are perpendicular to all others."""
    known = {int(axis): np.array(structure.cell[axis]) for axis in np.flatnonzero(structure.pbc)}
    if len(known) == 2:
        first, second = known.values()
        missing = ({0, 1, 2} - set(known)).pop()
        known[missing] = np.cross(first, second)
    elif len(known) == 1:
        ((axis, vector),) = known.items()
        helper = np.eye(3)[int(np.argmin(np.abs(vector)))]
        known[(axis + 1) % 3] = np.cross(vector, helper)
        known[(axis + 2) % 3] = np.cross(vector, known[(axis + 1) % 3])
    elif not known:
        known = dict(enumerate(np.eye(3)))
    vectors = np.array([known[axis] for axis in range(3)])
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _centred(structure: AtomStructure, cell: FloatArray) -> FloatArray:
    """(n, 3) positions shifted so that the atoms stand in the middle of the non-periodic directions."""
    directions = _directions(structure)
    along = structure.positions @ directions.T
    middle = (along.max(axis=0) + along.min(axis=0)) / 2
    wanted = np.linalg.norm(cell, axis=1) / 2
    shift = np.where(structure.pbc, 0.0, wanted - middle)
    return np.asarray(structure.positions + shift @ directions)
