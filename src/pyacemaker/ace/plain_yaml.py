"""YAML as nested mappings, lists and texts: what a value means is left to whoever asks for it.

Nothing is guessed: `N` stays a nitrogen atom, `1e-5` and `1.0e-5` are the same number to whoever reads a
number. Nothing in a damaged file can make the reader recurse or grow: it works through the events one by one.

Large files are mostly lists of numbers. Each of those that stands on one line passes the YAML parser as a
single word, with private characters for its brackets and commas, which is several times faster.
"""

import re
from typing import Any

Plain = Any
"""A text, a list of these, or a mapping whose keys are texts or tuples of texts."""

MAX_DEPTH = 50
"""Deepest nesting that is read."""

_OPEN, _COMMA, _CLOSE = "\ue000", "\ue001", "\ue002"

_NUMBERS = re.compile(r"\[([-+.0-9eE, ]*)\]")


class PlainYamlError(ValueError):
    """A text is not YAML, or has aliases, repeated keys or several documents."""


def parse(text: str) -> Plain:
    """The content of one YAML document; `""` for an empty one.

    Raises `PlainYamlError`, with the line, for text that is no YAML, repeats a key, has an alias, nests
    deeper than `MAX_DEPTH`, or holds several documents or
    private characters.
    """
    import yaml

    if any(mark in text for mark in (_OPEN, _COMMA, _CLOSE)):
        raise PlainYamlError("it has private characters (U+E000 and following)")
    text = _NUMBERS.sub(lambda found: f"{_OPEN}{found[1].replace(',', _COMMA)}{_CLOSE}", text)
    try:
        return _build(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        raise PlainYamlError(" ".join(str(error).split())) from error


def _build(events: Any) -> Plain:
    from yaml import events as kinds

    documents: list[Plain] = []
    unfinished: list[list[Plain]] = [documents]
    for event in events:
        kind = type(event)
        if kind is kinds.ScalarEvent:
            value = event.value
            unfinished[-1].append(_list(value) if _OPEN in value else value)
        elif kind is kinds.SequenceEndEvent:
            finished = unfinished.pop()
            unfinished[-1].append(finished)
        elif kind is kinds.MappingEndEvent:
            mapping = _mapping(unfinished.pop(), event)
            unfinished[-1].append(mapping)
        elif kind is kinds.SequenceStartEvent or kind is kinds.MappingStartEvent:
            if len(unfinished) > MAX_DEPTH:
                raise PlainYamlError(f"it nests deeper than {MAX_DEPTH} levels at{_line(event)}")
            unfinished.append([])
        elif kind is kinds.AliasEvent:
            raise PlainYamlError(f"it uses an alias, *{event.anchor}, at{_line(event)}")
    if len(documents) > 1:
        raise PlainYamlError(f"it holds {len(documents)} documents instead of one")
    return documents[0] if documents else ""


def _list(word: str) -> Plain:
    """The list that passed as one word; the word as it was where lists are only part of it."""
    if word[0] != _OPEN or word[-1] != _CLOSE or _OPEN in word[1:]:
        return word.replace(_OPEN, "[").replace(_COMMA, ",").replace(_CLOSE, "]")
    items = [item.strip() for item in word[1:-1].split(_COMMA)]
    return items if items[-1] else items[:-1]


def _mapping(items: list[Plain], event: Any) -> dict[Any, Plain]:
    """The mapping of keys and values in turn."""
    mapping: dict[Any, Plain] = {}
    for key, value in zip(items[::2], items[1::2], strict=True):
        name = tuple(key) if isinstance(key, list) else key
        if isinstance(name, dict) or (isinstance(name, tuple) and not all(isinstance(t, str) for t in name)):
            raise PlainYamlError(f"a key is neither a word nor a list of words, before{_line(event)}")
        if name in mapping:
            shown = f"[{', '.join(name)}]" if isinstance(name, tuple) else name
            raise PlainYamlError(f"it has the key {shown} twice, before{_line(event)}")
        mapping[name] = value
    return mapping


def _line(event: Any) -> str:
    return f" line {event.start_mark.line + 1}"
