"""The tables of the configuration reference, from the classes of the settings and the docstrings in them."""

import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pyacemaker.base import Spec
from pyacemaker.config import PyAceConfig
from pyacemaker.docstrings import field_docs, first_sentence

WORDS = {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path", Any: "anything"}
END_OF_DOCUMENT = "...\n"
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def settings_tables() -> str:
    """Markdown: one section per class of settings, in the order in which a config file comes to them."""
    places = settings_places()
    return "\n".join(_section(model, place, places) for model, place in places.items())


def settings_places() -> dict[type[Spec], str]:
    """Every class of settings that a config file can hold, with the shortest key under which it stands."""
    places: dict[type[Spec], str] = {PyAceConfig: ""}
    queue = [PyAceConfig]
    while queue:
        model = queue.pop(0)
        for name, inner in _inner(model):
            if inner not in places:
                places[inner] = f"{places[model]}.{name}".lstrip(".")
                queue.append(inner)
    return {model: places[model] for model in dict.fromkeys(_in_order(PyAceConfig, places))}


def _in_order(model: type[Spec], places: Mapping[type[Spec], str]) -> Iterator[type[Spec]]:
    """The class and then, where this is their place, those inside it."""
    yield model
    for name, inner in _inner(model):
        if places[inner] == f"{places[model]}.{name}".lstrip("."):
            yield from _in_order(inner, places)


def _inner(model: type[Spec]) -> Iterator[tuple[str, type[Spec]]]:
    """The fields that hold settings, and their classes."""
    for name, field in model.model_fields.items():
        for choice in _specs(field.annotation):
            yield name, choice


def _specs(annotation: Any) -> Iterator[type[Spec]]:
    """The classes of settings inside a type."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
    for inner in get_args(annotation) if get_origin(annotation) is not Literal else ():
        yield from _specs(inner)


def _section(model: type[Spec], place: str, places: Mapping[type[Spec], str]) -> str:
    docs = field_docs(model)
    rows = [
        _row(name, field, docs.get(name, ""), places)
        for name, field in model.model_fields.items()
        if name != "kind"
    ]
    table = ["| key | value | default | meaning |", "| --- | --- | --- | --- |", *rows] if rows else []
    level = "##" if "." not in place and _kind(model) is None else "###"
    about = "" if model is PyAceConfig else _flat(model.__doc__ or "") + "\n"
    return "\n".join([f"({_anchor(model)})=", f"{level} {_title(model, place)}", "", about, *table, ""])


def _row(name: str, field: FieldInfo, meaning: str, places: Mapping[type[Spec], str]) -> str:
    value = _type(field.annotation, places) + _bounds(field.metadata)
    alias = field.validation_alias
    others = (
        [str(other) for other in alias.choices if other != name] if isinstance(alias, AliasChoices) else []
    )
    key = " or ".join(f"`{key}`" for key in (name, *others))
    classes = list(_specs(field.annotation))
    if not meaning and len(classes) == 1:
        meaning = f"{first_sentence(classes[0].__doc__ or '')}."
    return f"| {key} | {value} | {_default(field)} | {_cell(_flat(meaning))} |"


def _type(annotation: Any, places: Mapping[type[Spec], str]) -> str:
    """A type in words, with links to the sections of classes of settings."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return f"[{_kind(annotation) or _title(annotation, places[annotation])}](#{_anchor(annotation)})"
    if origin is Annotated:
        return _type(arguments[0], places) + _bounds(arguments[1:])
    if origin is Literal:
        return ", ".join(f"`{item}`" for item in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(item, places) for item in arguments))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"{{{_type(arguments[0], places)}: {_type(arguments[1], places)}}}"
    if isinstance(origin, type) and issubclass(origin, Sequence | frozenset | set):
        several = [_type(item, places) for item in arguments if item is not Ellipsis]
        same = Ellipsis in arguments or len(several) == 1
        return f"list of {several[0]}" if same else f"[{', '.join(several)}]"
    return WORDS.get(annotation, f"`{getattr(annotation, '__name__', annotation)}`")


def _bounds(metadata: Sequence[Any]) -> str:
    """Limits of a number, of a length, and the pattern of a text."""
    items = [inner for item in metadata for inner in (getattr(item, "metadata", None) or [item])]
    limits = [(sign, getattr(item, name, None)) for item in items for name, sign in BOUNDS.items()]
    return ",".join(f" {sign} {limit:.12g}" for sign, limit in limits if isinstance(limit, int | float))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None:
        return "null"
    if isinstance(value, Spec):
        content = value.model_dump(mode="json", exclude_defaults=True)
        if (kind := _kind(type(value))) is not None:
            content = {"kind": kind, **content}
        return _code(content) if content else "its defaults"
    return _code(_plain(value))


def _plain(value: Any) -> Any:
    """What YAML can hold."""
    if isinstance(value, Spec):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _code(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    text = text.removesuffix(END_OF_DOCUMENT).strip()
    if "\n" in text:
        text = json.dumps(value, ensure_ascii=False)  # YAML too, and always on one line
    return f"`{_cell(text)}`"


def _title(model: type[Spec], place: str) -> str:
    kind = _kind(model)
    if model is PyAceConfig:
        return "The whole file"
    return f"{place}, kind: {kind}" if kind else place


def _kind(model: type[Spec]) -> str | None:
    field = model.model_fields.get("kind")
    return None if field is None else str(field.get_default())


def _anchor(model: type[Spec]) -> str:
    return f"settings-{model.__module__.rpartition('.')[2]}-{model.__name__}".lower()


def _flat(text: str) -> str:
    """One line, with YAML's word for Python's None."""
    return re.sub(r"\bNone\b", "null", " ".join(text.split()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
