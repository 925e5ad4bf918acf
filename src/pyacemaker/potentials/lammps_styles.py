"""A potential as pair styles of LAMMPS: `pace`, and the baseline that was subtracted before the fit."""

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from ase.data import atomic_numbers

from pyacemaker.baselines import Baseline, LennardJones, Zbl
from pyacemaker.errors import ConfigError, UnsupportedElementError
from pyacemaker.potentials.ace import ACEPotential

AceStyle = Literal["pace", "pace/extrapolation", "zero"]
"""What computes the ACE part: LAMMPS with ML-PACE, the same with grades, or `fix external`."""


def pair_commands(
    potential: ACEPotential,
    elements: Sequence[str],
    style: AceStyle = "pace",
    files: str = "potential.yace",
) -> list[str]:
    """`pair_style`, `pair_coeff` and what belongs to them, `units metal`.

    elements: elements[t − 1] is the chemical symbol of LAMMPS type t. files: what `pair_coeff * *` of `pace`
    names. With a baseline the styles are a `hybrid/overlay`. Raises `ConfigError` for a baseline that LAMMPS
    has no style for, `UnsupportedElementError` for an element that it has no parameters for.
    """
    arguments = f" {files} {' '.join(elements)}" if style != "zero" else ""
    cutoff = f" {potential.model.cutoff!r}" if style == "zero" else ""
    if potential.baseline is None:
        return [f"pair_style {style}{cutoff}", f"pair_coeff * *{arguments}"]
    styles, coefficients = _overlay(potential.baseline, elements)
    return [
        f"pair_style hybrid/overlay {style}{cutoff} {' '.join(styles)}",
        f"pair_coeff * * {style}{arguments}",
        *coefficients,
    ]


def _overlay(baseline: Baseline, elements: Sequence[str]) -> tuple[list[str], list[str]]:
    """The sub-styles with their arguments, and the commands that follow."""
    if isinstance(baseline, Zbl):
        return _zbl(baseline, elements)
    if isinstance(baseline, LennardJones):
        return _lennard_jones(baseline, elements)
    raise ConfigError(
        f"LAMMPS has no pair style for the baseline {type(baseline).__name__}; take zbl or lennard_jones, "
        "or drive LAMMPS through fix external, which evaluates any baseline"
    )


def _zbl(zbl: Zbl, elements: Sequence[str]) -> tuple[list[str], list[str]]:
    """One `zbl` for every window: each has one inner and one outer radius for all its pairs."""
    numbers = [atomic_numbers[symbol] for symbol in elements]
    windows = {(i, j): zbl.window_of(numbers[i], numbers[j]) for i, j in _pairs(elements)}
    different = sorted(set(windows.values()))
    number = {window: f" {k}" if len(different) > 1 else "" for k, window in enumerate(different, start=1)}
    coefficients = [
        f"pair_coeff {i + 1} {j + 1} zbl{number[window]} {numbers[i]} {numbers[j]}"
        for (i, j), window in windows.items()
    ]
    return [f"zbl {inner!r} {outer!r}" for inner, outer in different], coefficients


def _lennard_jones(lj: LennardJones, elements: Sequence[str]) -> tuple[list[str], list[str]]:
    missing = sorted(set(elements) - lj.atoms.keys())
    if missing:
        raise UnsupportedElementError(f"lennard_jones has no parameters for {', '.join(missing)}; add them")
    coefficients = []
    for i, j in _pairs(elements):
        first, second = lj.atoms[elements[i]], lj.atoms[elements[j]]
        epsilon = float(np.sqrt(first.epsilon * second.epsilon))
        sigma = (first.sigma + second.sigma) / 2.0
        coefficients.append(f"pair_coeff {i + 1} {j + 1} lj/cut {epsilon!r} {sigma!r}")
    if lj.shift:
        coefficients.append("pair_modify pair lj/cut shift yes")
    return [f"lj/cut {lj.cutoff!r}"], coefficients


def _pairs(elements: Sequence[str]) -> list[tuple[int, int]]:
    return list(itertools.combinations_with_replacement(range(len(elements)), 2))
