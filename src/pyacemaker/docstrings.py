"""The docstrings under the fields of settings: what a key means, in what unit."""

import ast
import inspect
import re
import textwrap
from functools import lru_cache
from itertools import pairwise

from pydantic import BaseModel


@lru_cache(maxsize=512)
def _own_docs(model: type[BaseModel]) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(model))
        body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
    except (OSError, TypeError, SyntaxError, IndexError, AttributeError):
        return {}  # a class without a source file
    docs: dict[str, str] = {}
    for field, text in pairwise(body):
        is_field = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if is_field and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            docs[field.target.id] = inspect.cleandoc(str(text.value.value))
    return docs


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """The docstring of each field of a class of settings, those of its base classes included.

    They are read from the source when they are asked for, so that importing settings stays quick; fields
    without a docstring, and classes without a source, have none.
    """
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            docs.update(_own_docs(base))
    return {name: text for name, text in docs.items() if name in model.model_fields}


def first_sentence(text: str) -> str:
    """The first sentence (or the first half of one with a semicolon) of a docstring, on one line."""
    flat = " ".join(text.split())
    return re.split(r"(?<=[^.\d])\.(?: |$)|; ", flat, maxsplit=1)[0].rstrip(".")
