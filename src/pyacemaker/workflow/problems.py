"""All that is wrong with a config file at once, each with its line: for `validate` and `run`."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AliasChoices, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from pyacemaker.config import PyAceConfig, load_config
from pyacemaker.errors import ConfigError, OracleError, PyacemakerError, UserError
from pyacemaker.generators import AnyGenerator
from pyacemaker.generators.base import Generator
from pyacemaker.located_yaml import LocatedYaml, Location, Problem, find_problems
from pyacemaker.workflow.labelling import check_covered
from pyacemaker.workflow.plausible import implausible
from pyacemaker.workflow.preflight import check_run

CHECKS = ("check_settings", "check")
"""Names of the methods with which a section of the settings looks at itself, its files and its programs."""


def find_all_problems(path: Path, *, rehearse: bool = False) -> list[Problem]:
    """Every problem of a config file, in the order of its lines; empty where a run could start.

    Looked at: the settings, one by one, wherever they stand (a wrong section does not hide what is wrong in
    another); numbers that nobody means; the programs, files, elements and the batch system that they name.
    rehearse: the oracle of a rehearsal stands in for DFT, so that DFT's programs are not looked at.
    Raises `ConfigError` for a file that is no YAML at all.
    """
    located = LocatedYaml.read(path)
    sections, found = _sections(located)
    told = {problem.line for problem in found}
    found += [problem for problem in _implausible(located) if problem.line not in told]
    found += _checked(located, sections, rehearse=rehearse)
    if not found:
        found = _whole(path, located, rehearse=rehearse)
    return sorted(found, key=lambda problem: problem.line)


def load_checked(path: Path, *, rehearse: bool = False) -> PyAceConfig:
    """The settings in a config file with which a run can start; `ConfigError` with all problems otherwise."""
    problems = find_all_problems(path, rehearse=rehearse)
    if problems:
        raise ConfigError("\n".join(map(str, problems)))
    config = load_config(path)
    return config.rehearsed() if rehearse else config


def _sections(located: LocatedYaml) -> tuple[dict[str, Any], list[Problem]]:
    """The sections that are right by themselves, defaults included, and what is wrong with the others."""
    context = _context(located)
    content = located.mapping()
    try:
        PyAceConfig.model_validate(content, context=context)
        problems = []
    except ValidationError as error:
        problems = find_problems(error, located, PyAceConfig)
    sections: dict[str, Any] = {}
    for name, field in PyAceConfig.model_fields.items():
        given = [key for key in _keys(name, field) if key in content]
        try:
            if given:
                value = _adapter(name).validate_python(content[given[0]], context=context)
                sections[given[0]] = value
            elif not field.is_required():
                sections[name] = field.get_default(call_default_factory=True)
        except ValidationError:
            continue  # among the problems already
    return sections, problems


@lru_cache(maxsize=64)
def _adapter(name: str) -> TypeAdapter[Any]:
    """Checks one section by itself."""
    field = PyAceConfig.model_fields[name]
    return TypeAdapter(Annotated[(field.annotation, *field.metadata, None)])  # type: ignore[arg-type]


def _keys(name: str, field: FieldInfo) -> list[str]:
    """What a section may be called in the file."""
    alias = field.validation_alias
    return [str(key) for key in alias.choices] if isinstance(alias, AliasChoices) else [name]


def _implausible(located: LocatedYaml) -> Iterator[Problem]:
    for location, text in implausible(located.mapping()):
        yield Problem(located.path, located.line(location), ".".join(map(str, location)), text)


def _checked(located: LocatedYaml, sections: Mapping[str, Any], *, rehearse: bool) -> list[Problem]:
    """What the sections find wrong with themselves and with one another."""
    found: dict[str, list[Problem]] = {}
    for name, section in sections.items():
        checks = [getattr(section, verb) for verb in CHECKS if hasattr(section, verb)]
        if checks and not (name == "dft" and rehearse):
            found[name] = [problem for check in checks for problem in _caught(check, (name,), located)]
    # what cannot be had covers nothing
    fit = {name: section for name, section in sections.items() if not found.get(name)}
    if rehearse:
        fit.pop("dft", None)
    problems = [problem for some in found.values() for problem in some]
    for index, generator in _generators(located):
        for check in _check_inputs(generator, fit):
            problems += _caught(check, ("sample", "generators", index), located)
    return _once(problems)


def _generators(located: LocatedYaml) -> Iterator[tuple[int, Generator]]:
    """The generators that are right by themselves, whatever is wrong with the rest of `sample`."""
    sample = located.mapping().get("sample")
    given = sample.get("generators") if isinstance(sample, Mapping) else None
    adapter: TypeAdapter[Generator] = TypeAdapter(AnyGenerator)
    for index, item in enumerate(given if isinstance(given, list) else []):
        try:
            yield index, adapter.validate_python(item, context=_context(located))
        except ValidationError:
            continue  # among the problems already


def _context(located: LocatedYaml) -> dict[str, Any]:
    return {"base_dir": located.path.resolve().parent}


def _check_inputs(generator: Generator, sections: Mapping[str, Any]) -> Iterator[Callable[[], None]]:
    """Checks of a generator's files, and of whether oracle and foundation model cover what is in them."""
    try:
        structures = generator.inputs()
    except (UserError, OracleError) as error:
        yield partial(_raise, error)
        return
    if "dft" in sections:
        yield partial(check_covered, structures, sections["dft"])
    if "foundation" in sections:
        yield partial(sections["foundation"].check, structures.elements)


def _raise(error: Exception) -> None:
    raise error


def _whole(path: Path, located: LocatedYaml, *, rehearse: bool) -> list[Problem]:
    """What only the settings as a whole show: budgets, and whatever else a run looks at before it starts."""
    found: list[PyAceConfig] = []
    problems = _caught(lambda: found.append(load_config(path)), (), located)
    if rehearse and found:
        problems += _caught(lambda: found.append(found[0].rehearsed()), ("dft",), located)
    return problems or _caught(lambda: check_run(found[-1]), (), located)


def _caught(check: Callable[[], Any], place: Location, located: LocatedYaml) -> list[Problem]:
    """The problem that a check raises, at the place that its message speaks of."""
    try:
        with _quiet():
            check()
    except (UserError, OracleError) as error:
        return [_located(error, place, located)]
    return []


class _quiet:
    """Log messages of the checks are for runs."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("pyacemaker")
        self._disabled, self._logger.disabled = self._logger.disabled, True

    def __exit__(self, *_: object) -> None:
        self._logger.disabled = self._disabled


def _located(error: PyacemakerError, place: Location, located: LocatedYaml) -> Problem:
    text = str(error)
    for start in (".".join(map(str, place)) + ": ", f"{located.path}: "):
        text = text.removeprefix(start)
    location = _spoken_of(text, place, located)
    return Problem(located.path, located.line(location), ".".join(map(str, location)) or "the file", text)


def _spoken_of(text: str, place: Location, located: LocatedYaml) -> Location:
    """The location below `place` that a sentence speaks of: a value that it quotes, a key, else `place`."""
    values = [(at, value) for at, value in _scalars(located.root, ()) if at[: len(place)] == place]
    quoted = set(re.findall(r"'([^']+)'", text))
    named = [
        (text.index(value), at)
        for at, value in values
        if value in quoted or (len(value) > 3 and re.search(r"[./]", value) and value in text)
    ]
    if named:
        return min(named, key=lambda item: item[0])[1]
    for word in re.findall(r"[A-Za-z_]\w*(?:\.\w+)+|^\w+", text):
        parts: Location = tuple(int(part) if part.isdigit() else part for part in word.split("."))
        for location in (parts, (*place, *parts)):
            if location[: len(place)] == place and located.has(location):
                return location
    return place


def _scalars(node: yaml.Node | None, location: Location) -> Iterator[tuple[Location, str]]:
    """All single values of the file, with their places."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, (*location, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _scalars(value, (*location, index))
    elif isinstance(node, yaml.ScalarNode):
        yield location, str(node.value)


def _once(problems: list[Problem]) -> list[Problem]:
    """Without what is said twice, of other places."""
    return list({problem.text: problem for problem in reversed(problems)}.values())
