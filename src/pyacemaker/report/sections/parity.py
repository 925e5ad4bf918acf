"""Parity: every model against DFT, structure by structure."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pyacemaker.report.numbers import rounded
from pyacemaker.report.page import Block, Figure, Grid, Missing, Section
from pyacemaker.report.plots import MAX_POINTS, axis, diagonal, layout, markers, span, tag_colours, thinned
from pyacemaker.report.predictions import Predictions, in_order
from pyacemaker.report.run_files import RunFiles
from pyacemaker.structures import AtomStructure, Dataset, FloatArray, Labels
from pyacemaker.units import GPA_PER_EV_PER_CUBIC_ANGSTROM

_VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")


@dataclass(frozen=True)
class _Quantity:
    """What is compared: values of a structure's labels, and what hovering says of each of them."""

    name: str
    title: str
    unit: str
    error_unit: str
    scale: float
    values: Callable[[AtomStructure, Labels, float], FloatArray]
    hover: Callable[[AtomStructure], list[str]]


def _energy(structure: AtomStructure, labels: Labels, reference: float) -> FloatArray:
    return np.array([(labels.energy - reference) / len(structure)])


def _forces(_: AtomStructure, labels: Labels, __: float) -> FloatArray:
    return np.asarray(labels.forces).ravel()


def _stress(_: AtomStructure, labels: Labels, __: float) -> FloatArray:
    assert labels.stress is not None
    return np.asarray(labels.stress * GPA_PER_EV_PER_CUBIC_ANGSTROM)


QUANTITIES = (
    _Quantity(
        "energy",
        "Energy, less that of the isolated atoms",
        "eV/atom",
        "meV/atom",
        1000.0,
        _energy,
        lambda s: [f"{s.id}<br>{s.tag}, {s.formula}"],
    ),
    _Quantity(
        "forces",
        "Force components",
        "eV/Å",
        "meV/Å",
        1000.0,
        _forces,
        lambda s: [f"{s.id}<br>{s.tag}, atom {i} {e}, {c}" for i, e in enumerate(s.symbols) for c in "xyz"],
    ),
    _Quantity(
        "stress",
        "Stress components",
        "GPa",
        "GPa",
        1.0,
        _stress,
        lambda s: [f"{s.id}<br>{s.tag}, {component}" for component in _VOIGT],
    ),
)


def parity(run: RunFiles, predictions: Predictions) -> Section:
    """One row of panels for each quantity, one panel for each model; the colours are those of the tags."""
    blocks: list[Block] = []
    if not predictions.labels:
        why = next(iter(predictions.missing.values()), "there is no model yet")
        return Section("parity", "Parity", [Missing("Parity plots", why)])
    for quantity in QUANTITIES:
        blocks.append(_panels(quantity, run, predictions))
    absent = [f"{name}: {why}" for name, why in predictions.missing.items()]
    if absent:
        blocks.append(Missing("Other models", "; ".join(absent)))
    return Section("parity", "Parity", blocks)


def _panels(quantity: _Quantity, run: RunFiles, predictions: Predictions) -> Block:
    rows = _usable(quantity, predictions)
    if not len(rows):
        why = "no structure of the test set has a stress from DFT and from the models: nothing is periodic"
        return Missing(quantity.title, why)
    test = predictions.test[rows]
    offsets = _offsets(test, run.reference_energies)
    reference = _values(quantity, test, test.labels, offsets)
    found = {
        name: _values(quantity, test, [labels[k] for k in rows], offsets)
        for name, labels in in_order(predictions)
    }
    limits = span(reference, *found.values())
    panels = [_panel(quantity, name, test, reference, found[name], limits) for name in found]
    more = (
        f" Of {len(reference)} points each panel shows {MAX_POINTS}." if len(reference) > MAX_POINTS else ""
    )
    caption = (
        f"{quantity.title} of {len(test)} test structures, {quantity.unit}: the model (up) against DFT "
        f"(across).{more} RMSEs above. Colours are the "
        "generators' tags; a click on one hides it."
    )
    legend = list(tag_colours([structure.tag for structure in predictions.test]).items())
    return Grid(panels, legend, caption)


def _usable(quantity: _Quantity, predictions: Predictions) -> list[int]:
    """The structures that DFT and every model have the quantity of."""
    if quantity.name != "stress":
        return list(range(len(predictions.test)))
    sets = [predictions.test.labels, *predictions.labels.values()]
    return [k for k in range(len(predictions.test)) if all(one[k].stress is not None for one in sets)]


def _offsets(test: Dataset, energies: dict[str, float]) -> FloatArray:
    if set(test.elements) <= energies.keys():
        return test.reference_energies(energies)
    return np.zeros(len(test))


def _values(quantity: _Quantity, test: Dataset, labels: list[Labels], offsets: FloatArray) -> FloatArray:
    parts = [quantity.values(s, one, float(e)) for s, one, e in zip(test, labels, offsets, strict=True)]
    return np.concatenate(parts)


def _panel(
    quantity: _Quantity,
    model: str,
    test: Dataset,
    reference: FloatArray,
    found: FloatArray,
    limits: tuple[float, float],
) -> Figure:
    hover = np.array([words for structure in test for words in quantity.hover(structure)])
    tags = np.array([s.tag for s in test for _ in quantity.hover(s)])
    shown = np.zeros(len(reference), dtype=bool)
    shown[thinned(len(reference))] = True
    data = [diagonal(*limits)]
    for tag, colour in tag_colours([structure.tag for structure in test]).items():
        rows = np.flatnonzero(shown & (tags == tag))
        words = [
            f"{hover[k]}<br>DFT {reference[k]:.4g}, {model} {found[k]:.4g} {quantity.unit}" for k in rows
        ]
        data.append(markers(reference[rows], found[rows], tag, colour, words, size=5))
    rmse = quantity.scale * float(np.sqrt(np.mean((found - reference) ** 2)))
    plan = layout(
        axis(f"DFT, {quantity.unit}", range=list(limits), nticks=5),
        axis(f"{model}, {quantity.unit}", range=list(limits), nticks=5),
    )
    title = f"{model}: {rounded(rmse)} {quantity.error_unit}"
    return Figure(f"parity-{quantity.name}-{model}", title, data, plan, height=264)
