"""Says where in a YAML file a problem is, what was expected there, and what the user may have meant."""

import difflib
import re
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import AliasChoices, BaseModel, ValidationError

from pyacemaker.docstrings import field_docs, first_sentence
from pyacemaker.errors import ConfigError

Location = tuple[int | str, ...]
S = TypeVar("S", bound=BaseModel)

_SECTION_EXPECTED = ("model_type", "model_attributes_type", "dict_type")
"""What pydantic calls a value where a section of keys should be."""

_LIST_EXPECTED = ("tuple_type", "list_type")
"""What pydantic calls a value where a list should be."""

_NUMBER_EXPECTED = ("float_type", "int_type")
"""What pydantic calls a value of another type where a number should be."""

_PLAIN_TYPES = frozenset({"float", "int", "str", "bool"})
"""What pydantic calls the plain alternatives of a union."""

_PATTERNS = {
    "^[0-9a-fA-F]{64}$": "64 hexadecimal digits, as sha256sum prints them",
    "^[A-Za-z0-9][A-Za-z0-9._-]*$": "letters, digits and . _ - only, and a letter or a digit first",
}
"""Regular expressions of settings in plain words."""

TEMPLATE_CURE = "write one with: pyacemaker template > config.yaml"
"""What to do when there is no config file."""


@dataclass(frozen=True)
class Problem:
    """What is wrong at one place of a config file: its line (from 1), its dotted key, a sentence."""

    path: Path
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.key}: {self.text}"


@dataclass(frozen=True)
class LocatedYaml:
    """A YAML file's content together with the tree of nodes that knows the line of each key."""

    path: Path
    content: Any
    root: yaml.Node | None

    @classmethod
    def read(cls, path: Path, cure: str = TEMPLATE_CURE) -> "LocatedYaml":
        """Parse a file; `ConfigError` when it is missing, no file, no text, no YAML, or repeats a key.

        cure: what to do when it is missing.
        """
        if path.is_dir():
            raise ConfigError(f"{path} is a directory; expected a config file (YAML)")
        if not path.is_file():
            raise ConfigError(f"{path} does not exist; {cure}")
        try:
            text = path.read_text(encoding="utf-8")
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            content = yaml.safe_load(text)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not a text file; expected YAML") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path}{_yaml_problem(error)}") from error
        _refuse_repeated_keys(path, root, set())
        return cls(path, content, root)

    def mapping(self) -> dict[str, Any]:
        """The content as keys and values; `ConfigError` where it is something else."""
        if self.content is None:
            return {}
        if not isinstance(self.content, dict):
            found = type(self.content).__name__
            raise ConfigError(f"{self.path}: expected keys and values (`seed: 1`), found {found}")
        return self.content

    def line(self, location: Location) -> int:
        """Line number (from 1) of a location, or of the innermost enclosing key that the file has."""
        node, line = self.root, 1
        for part in location:
            key, value = _child(node, part)
            if value is None:
                continue  # a union's tag, or a key that is missing
            line = (key or value).start_mark.line + 1
            node = value
        return line

    def has(self, location: Location) -> bool:
        """Whether the last part of `location` stands in the file."""
        node = self.root
        for part in location[:-1]:
            _, value = _child(node, part)
            node = node if value is None else value
        return _child(node, location[-1])[1] is not None


def load_settings(
    path: Path,
    model: type[S],
    keys: tuple[str, ...] | None = None,
    *,
    cure: str = TEMPLATE_CURE,
    **defaults: Any,
) -> S:
    """The settings of class `model` in a YAML file; paths in the file are relative to the file.

    keys: read only these and leave the rest of the file to others. cure: what to do when there is no such
    file. defaults: for keys that the file lacks.
    Raises `ConfigError` with one sentence per problem: the file, the line, the key, what is wrong, the cure.
    """
    located = LocatedYaml.read(path, cure)
    content = located.mapping()
    chosen = content if keys is None else {key: content[key] for key in keys if key in content}
    try:
        return model.model_validate({**defaults, **chosen}, context={"base_dir": path.resolve().parent})
    except ValidationError as error:
        raise ConfigError("\n".join(map(str, find_problems(error, located, model)))) from None


def find_problems(error: ValidationError, located: LocatedYaml, model: type[BaseModel]) -> list[Problem]:
    """The problems of a `ValidationError`, each with its place in the file and its cure."""
    found = []
    problems = error.errors(include_url=False)
    for problem in problems:
        location = problem["loc"]
        if problem["type"] == "too_short" and any(_is_below(other["loc"], location) for other in problems):
            continue  # pydantic does not count the items that are wrong
        if _is_other_word(problem, located) or _is_other_shape(problem, problems, located):
            continue  # what is wrong with the section, the number or the list says more
        key = ".".join(str(part) for part in location if _is_written(part, location, located)) or "the file"
        text = _sentence(problem, _model_at(model, location[:-1])) + _meaning(problem, model)
        place = (*location, "kind") if problem["type"] == "union_tag_invalid" else location
        found.append(Problem(located.path, located.line(place), key, text))
    return found


def _meaning(problem: Any, model: type[BaseModel]) -> str:
    """What the key stands for, and its unit, where its value is out of range or of a wrong type."""
    location = problem["loc"]
    while location and (isinstance(location[-1], int) or location[-1] in _PLAIN_TYPES):
        location = location[:-1]
    if problem["type"] not in _NEED_MEANING or not location:
        return ""
    parent = _model_at(model, location[:-1])
    doc = field_docs(parent).get(str(location[-1])) if parent is not None else None
    return f" ({location[-1]}: {first_sentence(doc)})" if doc else ""


_NEED_MEANING = frozenset(
    {
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"),
        *("float_parsing", "float_type", "int_parsing", "int_type", "int_from_float"),
        *("bool_parsing", "bool_type", "missing"),
    }
)
"""Pydantic's names of the problems that are easier to cure for those who know what the key is."""


def _is_other_word(problem: Any, located: LocatedYaml) -> bool:
    """Whether this says only that a section or a number is none of the words that may stand in its place."""
    is_word = problem["type"] == "literal_error" and not located.has(problem["loc"])
    return is_word and isinstance(problem["input"], dict | int | float)


def _is_other_shape(problem: Any, problems: Sequence[Any], located: LocatedYaml) -> bool:
    """Whether this says only that a number is no list, or a list no number, where either may stand."""
    location = problem["loc"]
    other = _NUMBER_EXPECTED if isinstance(problem["input"], list) else _LIST_EXPECTED
    if problem["type"] not in other or not _is_alternative(location[-1]) or located.has(location):
        return False
    return any(_is_below(one["loc"], location[:-1]) and one["loc"] != location for one in problems)


def _is_alternative(part: int | str) -> bool:
    """Whether pydantic may have called an alternative of a union so: a type or a class of settings."""
    if isinstance(part, int):
        return False
    return part in _PLAIN_TYPES or "-" in part or "[" in part or part[0].isupper()


def _is_written(part: int | str, location: Location, located: LocatedYaml) -> bool:
    index = location.index(part)
    last = index == len(location) - 1
    return located.has(location[: index + 1]) or (last and not _is_alternative(part))


def _sentence(problem: Any, parent: type[BaseModel] | None) -> str:
    kind, found = problem["type"], problem["input"]
    names = sorted(parent.model_fields) if parent is not None else []
    if kind == "extra_forbidden":
        hint = _did_you_mean(problem["loc"][-1], names)
        return f"unknown key; {hint}Allowed here: {', '.join(names) or 'nothing'}"
    if kind == "missing":
        return "this list is too short" if isinstance(problem["loc"][-1], int) else "this key is required"
    if kind in _SECTION_EXPECTED:
        return f"expected a section of keys and values; found {_shown(found)}"
    if kind == "union_tag_not_found":
        return "this section needs a kind"
    if kind == "union_tag_invalid":
        tag, expected = problem["ctx"]["tag"], problem["ctx"]["expected_tags"]
        hint = _did_you_mean(tag, [name.strip("'") for name in expected.split(", ")])
        return f"kind {tag!r} is not known; {hint}expected one of {expected}, or your own as module:ClassName"
    if kind in _PLAIN:
        return f"{_PLAIN[kind](problem)}; found {_shown(found)}"
    message = str(problem["msg"].removeprefix("Value error, "))
    if kind == "literal_error":
        hint = _did_you_mean(found, re.findall(r"'([^']*)'", problem["ctx"]["expected"])).strip()
        return f"{message}; found {_shown(found)}{'; ' if hint else ''}{hint}"
    return message if kind == "value_error" else f"{message}; found {_shown(found)}{_unit_hint(found, kind)}"


def _did_you_mean(found: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(found), known, n=1)
    return f"did you mean {close[0]}? " if close else ""


def _unit_hint(found: Any, kind: str) -> str:
    """What to do about `300 K` where a number is expected."""
    number = re.match(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*\S", found) if isinstance(found, str) else None
    if number is None or kind not in ("float_parsing", "int_parsing"):
        return ""
    return f": write the number alone, such as {number.group(1)}"


def _list_expected(problem: Any) -> str:
    found = problem["input"]
    example = f", such as [{found}]" if isinstance(found, str | int | float) else ""
    return f"expected a list{example}"


def _items_expected(problem: Any) -> str:
    context = problem["ctx"]
    n = context.get("min_length", context.get("max_length"))
    bound = "least" if "min_length" in context else "most"
    return f"expected a list of at {bound} {n} item{'' if n == 1 else 's'}"


def _pattern_expected(problem: Any) -> str:
    pattern = problem["ctx"]["pattern"]
    return f"expected {_PATTERNS.get(pattern, f'a text that matches {pattern}')}"


_PLAIN: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(_LIST_EXPECTED, _list_expected),
    **dict.fromkeys(("too_short", "too_long"), _items_expected),
    "path_type": lambda _: "expected the name of a file",
    "string_type": lambda _: "expected a text (quote it where it looks like a number)",
    "string_pattern_mismatch": _pattern_expected,
}
"""What was expected, in plain words, by pydantic's name of the problem."""


def _shown(found: Any) -> str:
    if found is None:
        return "nothing"
    if isinstance(found, dict):
        return "a section"
    return f"a list of {len(found)}" if isinstance(found, list) else repr(found)


def _is_below(location: Location, parent: Location) -> bool:
    return len(location) > len(parent) and location[: len(parent)] == parent


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    """The settings class that the keys at `location` belong to."""
    candidates: list[Any] = [model]
    for part in location:
        if isinstance(part, int):
            continue
        tagged = [item for item in candidates if part in (_kind(item), item.__name__)]
        if tagged:
            candidates = tagged
            continue
        candidates = [found for item in candidates for found in _models_in(_annotation(item, part))]
    return candidates[0] if len(candidates) == 1 else None


def _annotation(model: type[BaseModel], key: str) -> Any:
    """The type of a field by its name or another name that a file may use, None for no field."""
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        if key == name or key in (alias.choices if isinstance(alias, AliasChoices) else ()):
            return field.annotation
    return None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for argument in typing.get_args(annotation) for found in _models_in(argument)]


def _kind(model: type[BaseModel]) -> Any:
    field = model.model_fields.get("kind")
    return field.default if field is not None else None


def _child(node: yaml.Node | None, part: int | str) -> tuple[yaml.Node | None, yaml.Node | None]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None, None


def _refuse_repeated_keys(path: Path, node: yaml.Node | None, visited: set[int]) -> None:
    if id(node) in visited:  # an alias
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"{path}, line {line}: {name}: this key stands here twice; remove one")
            seen.add(name)
            _refuse_repeated_keys(path, value, visited)
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(path, item, visited)


def _yaml_problem(error: Exception) -> str:
    """The rest of a sentence that begins with the file's name."""
    mark = getattr(error, "problem_mark", None)
    line = "" if mark is None else f", line {mark.line + 1}"
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return f"{line} is not valid YAML: {problem}"
