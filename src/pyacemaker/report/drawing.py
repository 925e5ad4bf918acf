"""Structures as the page draws them: atoms, bonds, the cell, and arrows on the atoms."""

from typing import Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors

from pyacemaker.structures import AtomStructure, FloatArray

BOND = 1.2
"""Sum of covalent radii up to which two atoms are drawn as bonded."""
_TILT = (0.35, 0.3)  # radians about x and y: nothing is hidden behind itself
_CORNERS = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)


def drawing_of(structure: AtomStructure, arrows: FloatArray | None = None) -> dict[str, Any]:
    """The structure (n atoms) seen across its longest extents, slightly tilted; lengths in Å.

    arrows: (n, 3) in any unit, drawn at the atoms, the longest 1 Å long.
    """
    corners = _CORNERS @ structure.cell if structure.volume is not None else np.zeros((0, 3))
    everything = np.concatenate([structure.positions, corners])
    centre = 0.5 * (everything.min(axis=0) + everything.max(axis=0))
    turn = _view(structure.positions)
    radii = covalent_radii[structure.numbers]
    content: dict[str, Any] = {
        "positions": _rounded((structure.positions - centre) @ turn),
        "symbols": structure.symbols,
        "radii": _rounded(0.45 * radii),
        "colours": [_colour(symbol) for symbol in structure.symbols],
        "bonds": bonds(structure),
        "cell": [],
        "corners": _rounded((corners - centre) @ turn),
        "arrows": [],
    }
    if len(corners):
        content["cell"] = [[a, b] for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1]
    if arrows is not None:
        longest = float(np.linalg.norm(arrows, axis=1).max(initial=0.0))
        content["arrows"] = _rounded((arrows / (longest or 1.0)) @ turn)
    return content


def bonds(structure: AtomStructure) -> list[list[int]]:
    """Pairs of atoms closer than `BOND` times the sum of their radii, none across the cell's faces."""
    radii = covalent_radii[structure.numbers]
    vectors = structure.positions[:, None] - structure.positions[None]
    distances = np.linalg.norm(vectors, axis=2)
    close = distances < BOND * (radii[:, None] + radii[None])
    return [[int(i), int(j)] for i, j in zip(*np.nonzero(np.triu(close, 1)), strict=True)]


def _view(positions: FloatArray) -> FloatArray:
    """(3, 3), to be multiplied from the right: the longest extent to x, the shortest to z, then tilted."""
    centred = positions - positions.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    turn = axes[:, ::-1]
    turn = turn * np.where(turn[np.abs(turn).argmax(axis=0), range(3)] < 0, -1.0, 1.0)
    turn[:, 2] *= np.sign(np.linalg.det(turn)) or 1.0
    a, b = _TILT
    about_x = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    return np.asarray(turn @ about_y @ about_x)


def _colour(symbol: str) -> str:
    red, green, blue = (round(255 * part) for part in jmol_colors[atomic_numbers[symbol]])
    return f"#{red:02x}{green:02x}{blue:02x}"


def _rounded(values: FloatArray) -> list[Any]:
    found: list[Any] = np.round(np.asarray(values, dtype=np.float64), 3).tolist()
    return found
