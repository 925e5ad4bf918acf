"""The extended XYZ format: frames in, frames out, no number changed on the way.

A frame is a line with the number of atoms, a comment line of ``key=value`` pairs, and one line per atom whose
columns ``Properties=species:S:1:pos:R:3`` names. Numbers are written with all their digits. ASE reads what is
written here. What ASE trips over (``tag=`` without a value, six-number ``stress``, blank lines between
frames) is read here as it was meant.
"""

import gzip
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from pyacemaker.errors import DataError
from pyacemaker.structures.structure import BoolArray, FloatArray, IntArray

TEXT_KEYS = frozenset({"tag", "config_type", "source"})
"""Keys whose values stay text even when they look like a number (`tag=300`)."""

_BOOLEANS = dict.fromkeys(("T", "True", "true", "TRUE"), True) | dict.fromkeys(
    ("F", "False", "false", "FALSE"), False
)
_ENTRY = re.compile(
    r"""
    (?P<key> "(?:[^"\\]|\\.)*" | [^\s="]+ )
    (?: \s*=
        (?: [ \t]+ (?! [^\s=]+ \s* = ) | )      # `a= 1` has a value, `a= b=1` has not
        (?P<value> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | \{[^}]*\} | \[\[.*?\]\s*\] | \[[^\]]*\] | \S+ )?
    | (?P<flag>) )
    """,
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*")
_PLAIN_VALUE = re.compile(r"[\w.:/+-]+")
_NUMBER = re.compile(r"[-+0-9.eEnainfNIF]+")
_KINDS = {"f": "R", "i": "I", "u": "I", "b": "L"}
_CLOSING = {'"': '"', "'": "'", "{": "}", "[": "]"}


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of n atoms as the file has it.

    numbers: (n,). positions: (n, 3), Å. cell: (3, 3), Å, rows are lattice vectors, zero where there is none.
    pbc: (3,). info: the comment line's other entries. arrays: the other columns, (n,) or (n, columns).
    """

    numbers: IntArray
    positions: FloatArray
    cell: FloatArray
    pbc: BoolArray
    info: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


def read_extxyz(path: Path) -> Iterator[Frame]:
    """Yield the frames of an extended (or plain) XYZ file, also gzipped; `DataError` names the bad line."""
    with _open_text(path) as handle:
        for line_number, comment, rows in _split_frames(path, handle):
            try:
                yield _parse_frame(comment, rows)
            except (ValueError, KeyError, TypeError) as error:
                reason = f"{error} is not understood" if isinstance(error, KeyError) else str(error)
                raise DataError(
                    f"{path}, frame that starts at line {line_number}: {reason}; correct that frame"
                ) from None


def _split_frames(path: Path, handle: TextIO) -> Iterator[tuple[int, str, list[str]]]:
    """Yield each frame's first line number, comment and atom lines; blank lines in between are skipped."""
    lines = enumerate(handle, start=1)
    for line_number, line in lines:
        if not line.strip():
            continue
        try:
            n_atoms = int(line)
        except ValueError:
            raise DataError(
                f"{path}, line {line_number}: expected a number of atoms but found {line.strip()[:40]!r}; "
                "check that it is an extended XYZ file and that the counts before are right"
            ) from None
        texts = [text for _, text in islice(lines, n_atoms + 1)] if n_atoms > 0 else []
        if n_atoms < 1 or len(texts) < n_atoms + 1:
            raise DataError(
                f"{path}, line {line_number}: a frame of {n_atoms} atoms has {max(len(texts) - 1, 0)} atom "
                "lines where at least one and all of them are needed; the file is cut off or a count is wrong"
            )
        yield line_number, texts[0], texts[1:]


def write_extxyz(handle: TextIO, frames: Iterable[Frame]) -> None:
    """Write frames with every digit of every number."""
    for frame in frames:
        handle.write(format_frame(frame))


@contextmanager
def writable(path: Path) -> Iterator[TextIO]:
    """The file opened for text with Unix line ends, compressed where its name ends in `.gz`."""
    if path.suffix != ".gz":
        with path.open("w", encoding="utf-8", newline="\n") as handle:
            yield handle
        return
    # neither name nor time in the header: equal text gives equal bytes
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, mtime=0, fileobj=raw) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as handle,
    ):
        yield handle


def parse_comment(line: str) -> dict[str, Any]:
    """The entries of a comment line: numbers, booleans, arrays (1-d) and `_JSON` values converted.

    A key without ``=`` is True. A key with ``=`` but no value is None.
    """
    entries: dict[str, Any] = {}
    for match in _ENTRY.finditer(line):
        key = _unquote(match["key"])
        if match["flag"] is not None:
            entries[key] = True
        elif match["value"] is None:
            entries[key] = None
        else:
            text = _unquote(match["value"])
            entries[key] = _parse_text(text) if key in TEXT_KEYS else _parse_value(text)
    return entries


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _parse_frame(comment: str, rows: list[str]) -> Frame:
    info = parse_comment(comment)
    names = str(info.pop("Properties", None) or "species:S:1:pos:R:3")
    arrays = _parse_columns(names, rows)
    lattice = info.pop("Lattice", None)
    pbc = info.pop("pbc", None)
    cell = np.zeros((3, 3)) if lattice is None else np.array(lattice, dtype=np.float64).reshape(3, 3)
    if pbc is None:
        pbc = lattice is not None
    numbers = arrays.pop("Z", None)
    species = arrays.pop("species", None)
    if numbers is None:
        if species is None:
            raise ValueError(f"Properties={names} names neither species nor Z")
        numbers = np.array([_atomic_number(symbol) for symbol in species], dtype=np.int64)
    if "pos" not in arrays:
        raise ValueError(f"Properties={names} does not name pos")
    return Frame(numbers, arrays.pop("pos"), cell, np.broadcast_to(np.asarray(pbc, bool), 3), info, arrays)


def _atomic_number(symbol: str) -> int:
    number = atomic_numbers.get(symbol.capitalize(), 0)
    if number < 1:
        raise ValueError(f"'{symbol}' is not an element")
    return int(number)


def _parse_columns(names: str, rows: list[str]) -> dict[str, NDArray[Any]]:
    """The columns of the atom lines by name; (n,) for one column, (n, k) for k."""
    fields = names.split(":")
    if len(fields) % 3:
        raise ValueError(f"Properties={names} is not a list of name:type:columns")
    cells = [row.split() for row in rows]
    needed = sum(int(count) for count in fields[2::3])
    shortest = min(len(cell) for cell in cells)
    if shortest < needed:
        raise ValueError(f"an atom line has {shortest} columns where Properties={names} needs {needed}")
    arrays: dict[str, NDArray[Any]] = {}
    first = 0
    for name, kind, count in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        last = first + int(count)
        block = [_CONVERTERS[kind](cell[first:last]) for cell in cells]
        array = np.array(block, dtype=_DTYPES[kind])
        arrays[name] = array[:, 0] if last - first == 1 else array
        first = last
    return arrays


_CONVERTERS: Mapping[str, Any] = {
    "R": lambda words: [float(word) for word in words],
    "I": lambda words: [int(word) for word in words],
    "L": lambda words: [_BOOLEANS[word] for word in words],
    "S": lambda words: words,
}
_DTYPES: Mapping[str, Any] = {"R": np.float64, "I": np.int64, "L": np.bool_, "S": None}


def _unquote(text: str) -> str:
    if text[:1] in _CLOSING and len(text) > 1 and text[-1] == _CLOSING[text[0]]:
        text = text[1:-1] if text[0] != "[" else text.replace("[", " ").replace("]", " ")
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def _parse_text(text: str) -> Any:
    return json.loads(text.removeprefix("_JSON ")) if text.startswith("_JSON ") else text


def _parse_value(text: str) -> Any:
    """A number, a boolean, a 1-d array of them, a `_JSON` value, or the text itself."""
    if text.startswith("_JSON "):
        return _parse_text(text)
    words = text.replace(",", " ").split()
    if not words:
        return text
    for convert in (_integer, _real, _BOOLEANS.__getitem__):
        try:
            values = [convert(word) for word in words]
        except (ValueError, KeyError):
            continue
        return values[0] if len(values) == 1 else np.array(values)
    return text


def _integer(word: str) -> int:
    value = int(_checked_number(word))
    if abs(value) >= 2**63:
        raise ValueError(word)
    return value


def _real(word: str) -> float:
    return float(_checked_number(word))


def _checked_number(word: str) -> str:
    # Python's own conversions also take underscores and the digits of other scripts
    if not _NUMBER.fullmatch(word):
        raise ValueError(word)
    return word


def format_frame(frame: Frame) -> str:
    """The lines of a frame: a reader gets the same doubles back."""
    symbols = [chemical_symbols[number] for number in frame.numbers]
    columns: list[list[str]] = [symbols]
    names = ["species:S:1"]
    for name, array in {"pos": frame.positions, **frame.arrays}.items():
        table = np.asarray(array).reshape(len(symbols), -1)
        names.append(f"{name}:{_KINDS.get(table.dtype.kind, 'S')}:{table.shape[1]}")
        columns.extend([_format_scalar(value) for value in column] for column in table.T.tolist())
    entries = [f"Properties={':'.join(names)}", *(_format_entry(*entry) for entry in frame.info.items())]
    if frame.cell.any():
        entries.insert(0, f'Lattice="{_format_list(frame.cell.ravel())}"')
    entries.append(f'pbc="{_format_list(frame.pbc)}"')
    rows = (" ".join(row) for row in zip(*columns, strict=True))
    return "\n".join([str(len(symbols)), " ".join(entries), *rows, ""])


def _format_list(values: NDArray[Any]) -> str:
    return " ".join(_format_scalar(value) for value in values.tolist())


def _format_scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, str):
        return "_".join(value.split()) or "-"  # a column holds one word
    return repr(value)


def _format_entry(key: str, value: Any) -> str:
    name = key if _PLAIN_KEY.fullmatch(key) else _quote(key)
    return f"{name}={_format_value(value)}"


def _format_value(value: Any) -> str:
    """What `parse_comment` turns back into `value`: plain, quoted, or as JSON where it would be misread."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in _KINDS and len(value) > 1:
        return f'"{_format_list(value)}"'
    if isinstance(value, bool | int | float):
        return _format_scalar(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, str) and value.isprintable() and not _is_misread(value):
        return value if _PLAIN_VALUE.fullmatch(value) else _quote(value)
    return _quote(f"_JSON {json.dumps(value)}")


def _is_misread(text: str) -> bool:
    """Whether a reader would not get `text` back: it is blank, JSON, or looks like numbers or booleans."""
    return not text.strip() or text.startswith("_JSON") or not isinstance(_parse_value(text), str)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
