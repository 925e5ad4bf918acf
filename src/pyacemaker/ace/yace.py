"""Potentials in `.yace` files, the format of LAMMPS `pair_style pace` and of pacemaker."""

import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pyacemaker.ace.model import ACEModel, BasisFunction, Bond, Embedding, difference
from pyacemaker.ace.yace_entries import Entry, read_content
from pyacemaker.files import write_atomic

logger = logging.getLogger(__name__)

Pair = tuple[int, int]


def read_yace(path: str | Path) -> ACEModel:
    """The potential in a `.yace` file.

    As in other evaluators, keys that are not known are ignored, a bond without `inner_cutoff_type` has a
    `density` core, of many radial parameters the first counts, of more embedding parameters than the
    densities need the first ones count, and the last bond's `inner_cutoff_type` holds for all (a warning says
    so where they differ). Bonds [i, j] and [j, i] must agree.

    Raises `PotentialFormatError`, naming the file and the key, where the file is missing, damaged or of
    another kind.
    """
    return read_yace_and_baseline(path)[0]


def read_yace_and_baseline(path: str | Path) -> tuple[ACEModel, Any]:
    """The same, and what stands under `baseline`: the settings of what has to be added, None without the key.

    Other evaluators do not know that key; in LAMMPS the baseline is another pair style.
    """
    content = read_content(Path(path))
    return _model(Entry(Path(path), "", content)), content.get("baseline")


def write_yace(model: ACEModel, path: str | Path, baseline: Mapping[str, Any] | None = None) -> None:
    """Write a potential to a `.yace` file, atomically; the same model gives the same bytes.

    baseline: settings of what has to be added to the potential, kept under that key. Numbers keep every bit.
    Raises `ValueError` where one is not finite, or where bonds [i, j] and [j, i] differ.
    """
    note = "" if baseline is None else f"baseline: {json.dumps(baseline)}\n"
    write_atomic(Path(path), yace_text(model) + note)


def yace_text(model: ACEModel) -> str:
    """The content of the `.yace` file of a potential; raises as `write_yace` does."""
    _require_symmetry(model.bonds)
    lines = [
        f"elements: [{', '.join(_symbol(symbol) for symbol in model.elements)}]",
        f"E0: {_flow(model.e0)}",
        f"deltaSplineBins: {_number(model.delta_spline_bins)}",
        "embeddings:",
    ]
    species = range(len(model.elements))
    lines += [f"  {mu}: {_embedding_text(model.embeddings[mu])}" for mu in species]
    lines.append("bonds:")
    lines += [f"  [{mu}, {nu}]: {_bond_text(model.bonds[mu, nu])}" for mu in species for nu in species]
    lines.append("functions:")
    for mu in species:
        functions = model.functions[mu]
        lines.append(f"  {mu}:" if functions else f"  {mu}: []")
        lines += [f"    - {_function_text(function)}" for function in functions]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- writing


def _number(value: float | int) -> str:
    """The shortest text that reads back as the same number, with a point so that YAML sees a float."""
    if isinstance(value, int | np.integer):
        return str(int(value))
    if not math.isfinite(value):
        raise ValueError(f"the potential holds {value}; only finite numbers can be written")
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else _pointed(repr(value))


def _pointed(text: str) -> str:
    # YAML 1.1 takes 1e-05 for a string
    mantissa, mark, exponent = text.partition("e")
    return text if "." in mantissa or not mark else f"{mantissa}.0e{exponent}"


def _flow(values: Any) -> str:
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, list | tuple):
        return f"[{', '.join(_flow(value) for value in values)}]"
    return _number(values)


def _symbol(symbol: str) -> str:
    # YAML 1.1 takes these symbols for booleans
    return f'"{symbol}"' if symbol in {"N", "No", "Y"} else symbol


def _mapping(items: Iterable[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{key}: {text}" for key, text in items) + "}"


def _embedding_text(embedding: Embedding) -> str:
    return _mapping(
        [
            ("ndensity", str(embedding.ndensity)),
            ("FS_parameters", _flow(embedding.parameters)),
            ("npoti", embedding.function),
            ("rho_core_cutoff", _number(embedding.rho_core_cutoff)),
            ("drho_core_cutoff", _number(embedding.drho_core_cutoff)),
        ]
    )


def _bond_text(bond: Bond) -> str:
    return _mapping(
        [
            ("nradmax", str(bond.nradmax)),
            ("lmax", str(bond.lmax)),
            ("nradbasemax", str(bond.nradbase)),
            ("radbasename", bond.radial_basis),
            ("radparameters", _flow(bond.radial_parameters)),
            ("radcoefficients", _flow(bond.coefficients)),
            ("prehc", _number(bond.prehc)),
            ("lambdahc", _number(bond.lambdahc)),
            ("rcut", _number(bond.rcut)),
            ("dcut", _number(bond.dcut)),
            ("rcut_in", _number(bond.rcut_in)),
            ("dcut_in", _number(bond.dcut_in)),
            ("inner_cutoff_type", bond.inner_cutoff),
        ]
    )


def _function_text(function: BasisFunction) -> str:
    return _mapping(
        [
            ("mu0", str(function.mu0)),
            ("rank", str(function.rank)),
            ("ndensity", str(function.ctildes.shape[1])),
            ("num_ms_combs", str(len(function.ms_combs))),
            ("mus", _flow(function.mus)),
            ("ns", _flow(function.ns)),
            ("ls", _flow(function.ls)),
            ("ms_combs", _flow(function.ms_combs.ravel())),
            ("ctildes", _flow(function.ctildes.ravel())),
        ]
    )


# ---------------------------------------------------------------- reading


def _model(content: Entry) -> ACEModel:
    elements = tuple(content.texts("elements"))
    count = len(elements)
    embeddings = {mu: _embedding(entry) for mu, entry in content.species("embeddings", count)}
    bonds = _one_core(content, {pair: _bond(entry) for pair, entry in content.pairs("bonds", count)})
    functions = {
        mu: tuple(_function(entry, mu) for entry in entries)
        for mu, entries in content.species_lists("functions", count)
    }
    e0, bins = content.numbers("E0"), content.number("deltaSplineBins", 0.001)
    with content.complaining():
        _require_symmetry(bonds)
        return ACEModel(elements, e0, bins, embeddings, bonds, functions)


def _embedding(entry: Entry) -> Embedding:
    ndensity, parameters = entry.integer("ndensity"), entry.numbers("FS_parameters")
    if len(parameters) % 2 == 0:
        parameters = parameters[: 2 * max(ndensity, 0)]
    with entry.complaining():
        return Embedding(
            ndensity,
            tuple(parameters.tolist()),
            entry.text("npoti"),
            entry.number("rho_core_cutoff"),
            entry.number("drho_core_cutoff"),
        )


def _bond(entry: Entry) -> Bond:
    nradmax, lmax, nradbase = (entry.integer(key) for key in ("nradmax", "lmax", "nradbasemax"))
    shape = (nradmax, lmax + 1, nradbase)
    coefficients = entry.array("radcoefficients")
    with entry.complaining():
        if nradmax == 0 and coefficients.size == 0:
            coefficients = np.zeros(shape)
        if coefficients.shape != shape:
            raise ValueError(
                f"radcoefficients have shape {coefficients.shape}; nradmax, lmax, nradbasemax ask for {shape}"
            )
        return Bond(
            entry.number("rcut"),
            entry.number("dcut"),
            entry.text("radbasename"),
            tuple(entry.numbers("radparameters").tolist()),
            coefficients,
            entry.number("prehc"),
            entry.number("lambdahc"),
            entry.number("rcut_in", 0.0),
            entry.number("dcut_in", 0.0),
            entry.text("inner_cutoff_type", "density"),  # type: ignore[arg-type]
        )


def _function(entry: Entry, mu: int) -> BasisFunction:
    mu0, rank, ndensity, count = (entry.integer(key) for key in ("mu0", "rank", "ndensity", "num_ms_combs"))
    mus, ns, ls = (tuple(entry.integers(key).tolist()) for key in ("mus", "ns", "ls"))
    ms_combs, ctildes = entry.integers("ms_combs"), entry.numbers("ctildes")
    with entry.complaining():
        if mu0 != mu:
            raise ValueError(f"mu0 is {mu0} under species {mu}")
        for name, values, size in (
            ("mus", mus, rank),
            ("ns", ns, rank),
            ("ls", ls, rank),
            ("ms_combs", ms_combs, count * rank),
            ("ctildes", ctildes, count * ndensity),
        ):
            if len(values) != size:
                raise ValueError(
                    f"rank is {rank}, num_ms_combs {count}, ndensity {ndensity}, "
                    f"but {name} has {len(values)} entries instead of {size}"
                )
        return BasisFunction(
            mu0, mus, ns, ls, ms_combs.reshape(count, rank), ctildes.reshape(count, ndensity)
        )


def _one_core(content: Entry, bonds: dict[Pair, Bond]) -> dict[Pair, Bond]:
    """The bonds with the kind of core of the last one, which is the only kind that other evaluators know."""
    kinds = [bond.inner_cutoff for bond in bonds.values()]
    if len(set(kinds)) > 1:
        logger.warning(
            "%s names the inner cutoff types %s; the last bond's, %s, holds for all of them, as in LAMMPS",
            content.path,
            ", ".join(sorted(set(kinds))),
            kinds[-1],
        )
    return {pair: replace(bond, inner_cutoff=kinds[-1]) for pair, bond in bonds.items()}


def _require_symmetry(bonds: dict[Pair, Bond]) -> None:
    for (mu, nu), bond in bonds.items():
        name = difference(bond, bonds[nu, mu])
        if name:
            raise ValueError(f"bonds [{mu}, {nu}] and [{nu}, {mu}] differ in {name}; expected equal bonds")
