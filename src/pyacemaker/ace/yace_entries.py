"""The mappings of a `.yace` file, one value at a time; what is wrong is said with the file and the key."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyacemaker.ace.plain_yaml import PlainYamlError, parse
from pyacemaker.errors import PotentialFormatError

_MISSING: Any = object()


def read_content(path: Path) -> dict[Any, Any]:
    """The mapping in a file; `PotentialFormatError` for a file that is missing or holds none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PotentialFormatError(
            f"{path} cannot be read as text ({error}); expected a .yace potential"
        ) from error
    try:
        content = parse(text)
    except PlainYamlError as error:
        raise PotentialFormatError(
            f"{path} is not valid YAML ({error}); expected a .yace potential"
        ) from error
    if not isinstance(content, dict):
        found = "holds no mapping" if content else "is empty"
        raise PotentialFormatError(f"{path} {found}; expected a .yace potential with the key 'elements'")
    if "species" in content and "functions" not in content:
        raise PotentialFormatError(
            f"{path} is a potential in the B basis (it has the key 'species'); expected the C-tilde basis: "
            "convert it with pacemaker's pace_yaml2yace"
        )
    return content


@dataclass(frozen=True)
class Entry:
    """One mapping of the file at `path`. place: where in the file, such as "bonds [0, 1]"; "" for the whole.

    Every method raises `PotentialFormatError`, naming the file and the key, where the key is missing (unless
    there is a default) or its value is of another kind.
    """

    path: Path
    place: str
    values: dict[Any, Any]

    @contextmanager
    def complaining(self) -> Iterator[None]:
        """Turn the `ValueError` of a part that contradicts itself into `PotentialFormatError`."""
        try:
            yield
        except ValueError as error:
            raise PotentialFormatError(f"{self.path} is damaged{self._at()}: {error}") from error

    def text(self, key: str, default: Any = _MISSING) -> str:
        """A word."""
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self._error(key, value, "one word")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of words."""
        value = self._value(key)
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self._error(key, value, "a list of chemical symbols")
        return value

    def integer(self, key: str) -> int:
        """An integer that is not negative."""
        value = self._value(key)
        if isinstance(value, str) and value.isdecimal() and len(value) < 10:
            return int(value)
        raise self._error(key, value, "an integer that is not negative")

    def number(self, key: str, default: float = _MISSING) -> float:
        """A finite number."""
        return float(self._numeric(key, self._value(key, default), np.float64, 0, "a finite number"))

    def integers(self, key: str) -> NDArray[np.int64]:
        """A list of integers."""
        found: NDArray[np.int64] = self._numeric(key, self._value(key), np.int64, 1, "a list of integers")
        return found

    def numbers(self, key: str) -> NDArray[np.float64]:
        """A list of finite numbers."""
        value = self._value(key)
        found: NDArray[np.float64] = self._numeric(key, value, np.float64, 1, "a list of finite numbers")
        return found

    def array(self, key: str) -> NDArray[np.float64]:
        """Nested lists of finite numbers, all of one length at each level."""
        expected = "nested lists of finite numbers, as long as each other"
        found: NDArray[np.float64] = self._numeric(key, self._value(key), np.float64, None, expected)
        return found

    def species(self, key: str, count: int) -> Iterator[tuple[int, "Entry"]]:
        """The entries of the section `key` for species 0 … count − 1."""
        section = self._section(key, {str(mu): f"{mu}" for mu in range(count)})
        for mu in range(count):
            yield mu, section._entry(str(mu), f"{key} {mu}", section.values[str(mu)])

    def pairs(self, key: str, count: int) -> Iterator[tuple[tuple[int, int], "Entry"]]:
        """The entries of the section `key` for all ordered pairs of `count` species."""
        pairs = {(str(mu), str(nu)): f"[{mu}, {nu}]" for mu in range(count) for nu in range(count)}
        section = self._section(key, pairs)
        for (mu, nu), shown in pairs.items():
            yield (int(mu), int(nu)), section._entry(shown, f"{key} {shown}", section.values[mu, nu])

    def species_lists(self, key: str, count: int) -> Iterator[tuple[int, Iterator["Entry"]]]:
        """The lists of entries of the section `key` for species 0 … count − 1; no value: an empty list."""
        section = self._section(key, {str(mu): f"{mu}" for mu in range(count)})
        for mu in range(count):
            entries = section.values[str(mu)] or []
            if not isinstance(entries, list):
                raise section._error(str(mu), entries, "a list of functions")
            yield mu, section._entries(f"{key} {mu}", entries)

    def _entries(self, place: str, entries: list[Any]) -> Iterator["Entry"]:
        for index, values in enumerate(entries):
            yield self._entry(str(index), f"{place}, number {index}", values)

    def _entry(self, key: str, place: str, values: Any) -> "Entry":
        if not isinstance(values, dict):
            raise self._error(key, values, "a mapping")
        return Entry(self.path, place, values)

    def _section(self, key: str, expected: dict[Any, str]) -> "Entry":
        """The section `key`, which has exactly the expected keys (given with how each is shown)."""
        section = self._value(key)
        if not isinstance(section, dict):
            raise self._error(key, section, "a mapping by species")
        for name, shown in expected.items():
            if name not in section:
                raise PotentialFormatError(
                    f"{self.path} lacks the key {shown} at {key}; expected a complete .yace potential"
                )
        for name in section:
            if name not in expected:
                shown = f"[{', '.join(name)}]" if isinstance(name, tuple) else name
                raise PotentialFormatError(
                    f"{self.path} has the key {shown} at {key}, which is no species of its elements"
                )
        return Entry(self.path, key, section)

    def _value(self, key: str, default: Any = _MISSING) -> Any:
        value = self.values.get(key, default)
        if value is _MISSING:
            raise PotentialFormatError(
                f"{self.path} lacks the key {key!r}{self._at()}; expected a complete .yace potential"
            )
        return value

    def _numeric(self, key: str, value: Any, kind: Any, ndim: int | None, expected: str) -> Any:
        try:
            array = np.array(value, dtype=kind)
        except (ValueError, TypeError, OverflowError) as error:
            raise self._error(key, value, expected) from error
        if ndim not in (None, array.ndim) or not np.isfinite(array).all():
            raise self._error(key, value, expected)
        return array

    def _error(self, key: str, value: Any, expected: str) -> PotentialFormatError:
        shown = str(value).replace("\n", " ")
        shown = shown if len(shown) <= 40 else f"{shown[:37]}…"
        return PotentialFormatError(
            f"{self.path} is damaged: {key!r}{self._at()} is {shown}; expected {expected}"
        )

    def _at(self) -> str:
        return f" at {self.place}" if self.place else ""
