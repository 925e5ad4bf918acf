"""Potentials in `.yace` files, the format of LAMMPS `pair_style pace` and of pacemaker."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pyacemaker.ace.model import ACEModel, BasisFunction, Bond, Embedding
from pyacemaker.errors import PotentialFormatError
from pyacemaker.files import write_atomic

Mapping = dict[Any, Any]
T = TypeVar("T")


def read_yace(path: str | Path) -> ACEModel:
    """The potential in a `.yace` file.

    Raises `PotentialFormatError`, naming the file and the key, where the file is missing, damaged or of
    another kind.
    """
    path = Path(path)
    content = _load(path)
    return _built(path, "", partial(_model, path, content))


def write_yace(model: ACEModel, path: str | Path) -> None:
    """Write a potential to a `.yace` file, atomically; the same model gives the same bytes.

    Numbers keep every bit. Raises `ValueError` where one is not finite.
    """
    write_atomic(Path(path), yace_text(model))


def yace_text(model: ACEModel) -> str:
    """The content of the `.yace` file of a potential."""
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


def _load(path: Path) -> Mapping:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PotentialFormatError(
            f"{path} cannot be read as text ({error}); expected a .yace potential"
        ) from error
    try:
        content = yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        summary = " ".join(str(error).split())
        raise PotentialFormatError(
            f"{path} is not valid YAML ({summary}); expected a .yace potential"
        ) from error
    if not isinstance(content, dict):
        raise PotentialFormatError(
            f"{path} holds no mapping; expected a .yace potential with the key 'elements'"
        )
    return content


def _loader() -> Any:
    """A safe YAML loader that makes tuples of list keys and keeps `N`, `No` and `Y` as symbols."""
    import yaml

    class TupleKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Mapping:
            return {
                _hashable(self.construct_object(key, deep=True)): self.construct_object(value, deep=True)
                for key, value in node.value
            }

        def construct_yaml_map(self, node: Any) -> Mapping:
            return self.construct_mapping(node)

    TupleKeys.add_constructor("tag:yaml.org,2002:map", TupleKeys.construct_yaml_map)
    TupleKeys.add_constructor("tag:yaml.org,2002:bool", TupleKeys.construct_scalar)
    return TupleKeys


def _hashable(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def _built(path: Path, where: str, build: Callable[[], T]) -> T:
    """What `build` returns; its complaints become `PotentialFormatError` with the file and the place."""
    place = f" at {where}" if where else ""
    try:
        return build()
    except KeyError as error:
        key = error.args[0]
        raise PotentialFormatError(
            f"{path} lacks the key {key!r}{place}; expected a complete .yace potential"
        ) from error
    except (ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise PotentialFormatError(f"{path} is damaged{place}: {error}") from error


def _model(path: Path, content: Mapping) -> ACEModel:
    elements = content["elements"]
    if not isinstance(elements, list):
        raise TypeError(f"elements is {elements!r}; expected a list of chemical symbols")
    species = range(len(elements))
    embeddings, bonds, functions = (_section(content, key) for key in ("embeddings", "bonds", "functions"))
    return ACEModel(
        tuple(str(symbol) for symbol in elements),
        _floats(content["E0"]),
        float(content.get("deltaSplineBins", 0.001)),
        {mu: _entry(path, "embeddings", embeddings, mu, _embedding) for mu in species},
        {(mu, nu): _entry(path, "bonds", bonds, (mu, nu), _bond) for mu in species for nu in species},
        {mu: _functions(path, functions, mu) for mu in species},
    )


def _section(content: Mapping, key: str) -> Mapping:
    section = content[key]
    if not isinstance(section, dict):
        raise TypeError(f"{key} is {type(section).__name__}; expected a mapping by species")
    return section


def _entry(path: Path, name: str, section: Mapping, key: Any, build: Callable[[Any], T]) -> T:
    """One entry of a section, built; its errors name the section and the entry."""
    found = _built(path, name, partial(section.__getitem__, key))
    shown = list(key) if isinstance(key, tuple) else key
    return _built(path, f"{name} {shown}", partial(build, found))


def _functions(path: Path, section: Mapping, mu: int) -> tuple[BasisFunction, ...]:
    entries = _built(path, "functions", partial(section.__getitem__, mu)) or []
    return tuple(
        _built(path, f"functions {mu}, number {index}", partial(_function, entry))
        for index, entry in enumerate(entries)
    )


def _floats(values: Any) -> Any:
    array = np.array(values, dtype=float)
    if not np.isfinite(array).all():
        raise ValueError("a number is NaN or infinite; expected finite numbers")
    return array


def _embedding(entry: Mapping) -> Embedding:
    return Embedding(
        int(entry["ndensity"]),
        tuple(_floats(entry["FS_parameters"]).tolist()),
        str(entry["npoti"]),
        float(entry["rho_core_cutoff"]),
        float(entry["drho_core_cutoff"]),
    )


def _bond(entry: Mapping) -> Bond:
    shape = tuple(int(entry[key]) for key in ("nradmax", "lmax", "nradbasemax"))
    shape = (shape[0], shape[1] + 1, shape[2])
    coefficients = _floats(entry["radcoefficients"])
    if coefficients.size == 0:
        coefficients = coefficients.reshape(0, *shape[1:])
    if coefficients.shape != shape:
        raise ValueError(
            f"radcoefficients have shape {coefficients.shape}; nradmax, lmax, nradbasemax ask for {shape}"
        )
    names = ("prehc", "lambdahc")
    core = {name: float(_floats(entry[name])) for name in names}
    core |= {name: float(_floats(entry.get(name, 0.0))) for name in ("rcut_in", "dcut_in")}
    return Bond(
        float(_floats(entry["rcut"])),
        float(_floats(entry["dcut"])),
        str(entry["radbasename"]),
        tuple(np.atleast_1d(_floats(entry["radparameters"])).tolist()),
        coefficients,
        **core,
        inner_cutoff=entry.get("inner_cutoff_type", "density"),
    )


def _function(entry: Mapping) -> BasisFunction:
    rank, ndensity, count = (int(entry[key]) for key in ("rank", "ndensity", "num_ms_combs"))
    mus, ns, ls = (tuple(int(value) for value in entry[key]) for key in ("mus", "ns", "ls"))
    if len(mus) != rank:
        raise ValueError(f"rank is {rank} but mus has {len(mus)} entries")
    return BasisFunction(
        int(entry["mu0"]),
        mus,
        ns,
        ls,
        np.array(entry["ms_combs"], dtype=np.int64).reshape(count, rank),
        _floats(entry["ctildes"]).reshape(count, ndensity),
    )
