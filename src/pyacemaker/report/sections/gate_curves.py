"""The curves that the gates left in `08_gates/gates.json`, drawn."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pyacemaker.report.page import Figure
from pyacemaker.report.plots import (
    MODEL_COLOURS,
    PALETTE,
    axis,
    diagonal,
    layout,
    legend_above,
    line,
    log_axis,
    markers,
    span,
)
from pyacemaker.units import MEV_PER_EV

Measured = Mapping[str, Mapping[str, Any]]

KINDS = {
    "Equation of state": ("energy_volume", "equilibrium_volume"),
    "Elastic constants": ("elastic_constants",),
    "Phonons": ("phonons",),
    "Vibrations of molecules": ("frequencies",),
    "Walls of dimers": ("dimer_walls",),
    "Reaction paths": ("path", "barrier"),
    "Energy conservation": ("nve_drift",),
    "Extrapolation": ("extrapolation",),
}
"""What may be missing, and the gates that answer it."""
_VOIGT = ("1", "2", "3", "4", "5", "6")
_MOST = 400  # points of a curve
_HEIGHT = 310
_EV = "Energy against volume, every crystal over its lowest energy; open circles: the teacher."
_MINIMA = "Minima of Birch–Murnaghan fits; DFT where the run labelled five volumes or more."
_ELASTIC = "Elastic constants, each model at its own minimum."
_PHONONS = "All wave vectors that fit into the supercell, each model at its own minimum."
_MODES = "Normal modes, each model at its own minimum; imaginary ones are negative."
_WALLS = "Two atoms of the final potential, pushed together: a wall without a hole only rises."
_PATH = "The same images by every model; crosses where DFT has labels."
_NVE = "The total energy should neither drift nor jump."
_GAMMA = "The share of structures whose largest γ is at most this; above 1 is new ground."
_LEGEND = {"showlegend": True, "legend": legend_above(), "margin": {"l": 62, "r": 14, "t": 34, "b": 46}}


def equation_of_state(measured: Measured) -> list[Figure]:
    """E(V) of the final potential over its lowest energy, of every crystal; the teacher's where kept."""
    data = []
    for k, (name, curve) in enumerate(_curves(measured, "energy_volume").items()):
        energies = np.array(curve["ev_per_atom"])
        y = MEV_PER_EV * (energies - energies.min())
        colour = PALETTE[k % len(PALETTE)]
        data.append(line(curve["cubic_angstrom_per_atom"], y, name, colour, dots=True))
        theirs = np.array(curve.get("teacher_ev_per_atom") or [])
        if len(theirs):
            above = MEV_PER_EV * (theirs - theirs.min())
            words = [f"teacher, {name}: {value:.3g} meV/atom" for value in above]
            volumes = curve["cubic_angstrom_per_atom"]
            data.append(
                markers(volumes, above, f"{name}, teacher", colour, words, symbol="circle-open", size=8)
            )
    if not data:
        return []
    plan = layout(axis("volume, Å³/atom"), axis("energy over the lowest, meV/atom"), **_LEGEND)
    found = [Figure("energy-volume", "E(V) of the final potential", data, plan, _EV, _HEIGHT)]
    volumes = measured.get("equilibrium_volume")
    if volumes is not None:
        found.append(_against("equilibrium-volume", volumes, "equilibrium volume", "Å³/atom"))
    return found


def elastic(measured: Measured) -> list[Figure]:
    """Every elastic constant, final against teacher."""
    one = measured.get("elastic_constants")
    if one is None or not one["student"]:
        return []
    pairs = []
    for crystal, constants in one["student"].items():
        theirs = one["teacher"][crystal]
        for i in range(6):
            for j in range(i, 6):
                words = f"{crystal}, C{_VOIGT[i]}{_VOIGT[j]}"
                pairs.append((theirs[i][j], constants[i][j], words))
    return [_scatter("elastic-constants", "Elastic constants", "GPa", pairs, _ELASTIC)]


def vibrations(measured: Measured) -> list[Figure]:
    """The molecules' wavenumbers, final against teacher; imaginary ones are negative."""
    one = measured.get("frequencies")
    if one is None or not one["student"] or not one["teacher"]:
        return []
    pairs = [
        (theirs, ours, f"{name}, mode {k + 1}")
        for name, values in one["student"].items()
        for k, (ours, theirs) in enumerate(zip(values, one["teacher"].get(name) or [], strict=False))
    ]
    return [_scatter("wavenumbers", "Vibrations of molecules", "cm⁻¹", pairs, _MODES)]


def phonons(measured: Measured) -> list[Figure]:
    """Frequencies at the wave vectors that fit into the supercell, ordered by their length."""
    found = []
    for k, (name, curve) in enumerate(_curves(measured, "phonons").items()):
        points = np.array(curve["points"])
        folded = points - np.round(points)
        order = np.argsort(np.linalg.norm(folded, axis=1), kind="stable")
        data = []
        for who, key, symbol in (
            ("teacher", "teacher_thz", "circle-open"),
            ("final", "student_thz", "circle"),
        ):
            frequencies = np.array(curve[key])[order]
            x = np.repeat(np.arange(len(order)), frequencies.shape[1]).tolist()
            vectors = ["(" + ", ".join(f"{part:.3g}" for part in folded[q]) + ")" for q in order]
            words = [
                f"{who}, q = {vectors[q]}: {value:.3g} THz"
                for q, value in zip(x, frequencies.ravel(), strict=True)
            ]
            size = 9 if who == "teacher" else 5
            data.append(
                markers(x, frequencies.ravel(), who, MODEL_COLOURS[who], words, symbol=symbol, size=size)
            )
        plan = layout(axis("wave vector, by length"), axis("frequency, THz (imaginary: below 0)"), **_LEGEND)
        found.append(Figure(f"phonons-{k}", f"Phonons of {name}", data, plan, _PHONONS, _HEIGHT))
    return found


def walls(measured: Measured) -> list[Figure]:
    """E(r) of two atoms of every pair of elements, over the value where the bond may begin."""
    data = []
    for k, (pair, curve) in enumerate(_curves(measured, "dimer_walls").items()):
        distances, energies = np.array(curve["angstrom"]), np.array(curve["ev"], dtype=np.float64)
        above = energies - energies[-1]
        kept = np.flatnonzero(above > 1e-3)
        data.append(line(distances[kept], above[kept], pair, PALETTE[k % len(PALETTE)]))
    if not data:
        return []
    plan = layout(
        axis("distance, Å"),
        log_axis("energy over the end of the wall, eV", *(trace["y"] for trace in data)),
        **_LEGEND,
    )
    return [Figure("dimer-walls", "Walls of pairs of atoms", data, plan, _WALLS, _HEIGHT)]


def reaction_paths(measured: Measured) -> list[Figure]:
    """Profiles along the run's paths, each from its reactant."""
    found = []
    for k, path in enumerate(_curves(measured, "path").get("paths", [])):
        x = list(range(len(path["student_ev"])))
        data = [
            line(x, path["teacher_ev"], "teacher", MODEL_COLOURS["teacher"], dots=True),
            line(x, path["student_ev"], "final", MODEL_COLOURS["final"], dots=True),
        ]
        known = [(i, e) for i, e in enumerate(path.get("dft_ev") or []) if e is not None]
        if known:
            i, e = zip(*known, strict=True)
            data.append(markers(i, e, "DFT", MODEL_COLOURS["dft"], symbol="x", size=9))
        plan = layout(axis("image along the path"), axis("energy over the reactant, eV"), **_LEGEND)
        found.append(Figure(f"path-{k}", f"Reaction {k + 1}", data, plan, _PATH, _HEIGHT))
    return found


def conservation(measured: Measured) -> list[Figure]:
    """The total energy of each trajectory without a thermostat, over that of its start."""
    curves = _curves(measured, "nve_drift")
    if not curves.get("ev_per_atom"):
        return []
    data = []
    for k, energies in enumerate(curves["ev_per_atom"]):
        step = max(1, len(energies) // _MOST)
        y = MEV_PER_EV * (np.array(energies) - energies[0])
        x = 1e-3 * curves["timestep_fs"] * np.arange(len(energies))
        data.append(line(x[::step], y[::step], f"start {k + 1}", PALETTE[k % len(PALETTE)]))
    plan = layout(axis("time, ps"), axis("total energy over its start, meV/atom"), **_LEGEND)
    return [Figure("nve", "Energy without a thermostat", data, plan, _NVE, _HEIGHT)]


def extrapolation(measured: Measured) -> list[Figure]:
    """Quantiles of the largest γ of each structure, for the pool, the test set and its own trajectories."""
    one = measured.get("extrapolation")
    if one is None or not isinstance(one.get("student"), dict):
        return []
    data = []
    for k, (part, quantiles) in enumerate(one["student"].items()):
        x = [f"{100 * float(level):g} %" for level in quantiles]
        data.append(line(x, list(quantiles.values()), part, PALETTE[k % len(PALETTE)], dots=True))
    plan = layout(
        axis("share of the structures", type="category"),
        log_axis("largest γ", *(trace["y"] for trace in data)),
        **_LEGEND,
    )
    return [Figure("extrapolation", "Extrapolation grades", data, plan, _GAMMA, _HEIGHT)]


DRAWN: tuple[Callable[[Measured], list[Figure]], ...] = (
    equation_of_state,
    elastic,
    phonons,
    vibrations,
    walls,
    reaction_paths,
    conservation,
    extrapolation,
)
"""What makes the figures, in order."""


def _curves(measured: Measured, gate: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (measured.get(gate) or {}).get("curves") or {}
    return found


def _scatter(name: str, title: str, unit: str, pairs: list[tuple[float, float, str]], caption: str) -> Figure:
    theirs, ours = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    limits = span(np.array(theirs), np.array(ours))
    hover = [f"{w}<br>teacher {t:.4g}, final {o:.4g} {unit}" for t, o, w in pairs]
    data = [diagonal(*limits), markers(theirs, ours, title, MODEL_COLOURS["final"], hover, size=7)]
    plan = layout(axis(f"teacher, {unit}", range=list(limits)), axis(f"final, {unit}", range=list(limits)))
    return Figure(name, title, data, plan, caption, _HEIGHT)


def _against(name: str, one: Mapping[str, Any], title: str, unit: str) -> Figure:
    """A figure by crystal: final, teacher and, where it is known, DFT."""
    data = []
    for who, key, symbol in (
        ("teacher", "teacher", "diamond"),
        ("final", "student", "circle"),
        ("DFT", "dft", "x"),
    ):
        values = {crystal: value for crystal, value in (one.get(key) or {}).items() if value is not None}
        if values:
            words = [f"{who}, {crystal}: {value:.4g} {unit}" for crystal, value in values.items()]
            data.append(
                markers(
                    list(values),
                    list(values.values()),
                    who,
                    MODEL_COLOURS[who.lower()],
                    words,
                    symbol=symbol,
                    size=9,
                )
            )
    plan = layout(axis("crystal", type="category"), axis(f"{title}, {unit}"), **_LEGEND)
    return Figure(name, title.capitalize(), data, plan, _MINIMA, _HEIGHT)
