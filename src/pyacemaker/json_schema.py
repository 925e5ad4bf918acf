"""The JSON schema of a config file: what editors complete and check YAML with."""

from collections.abc import Callable
from typing import Any

from pydantic import AliasChoices, BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from pyacemaker.docstrings import field_docs

DIALECT = "https://json-schema.org/draft/2020-12/schema"
"""The version of JSON Schema."""

_OWN_CLASS = {
    "type": "string",
    "pattern": r"^[\w.]+:[\w.]+$",
    "description": "A class of your own, as module:Class.",
}


def config_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a settings class.

    Each key has its docstring as description. Where a section has a `kind`, the schema names all of them, and
    what else belongs there follows from it; `module:Class` is let through, with any keys.
    """
    content = model.model_json_schema(schema_generator=_Documented)
    return {"$schema": DIALECT, **content, "title": "pyacemaker config"}


class _Documented(GenerateJsonSchema):
    """Adds the docstrings of fields, their other names, and alternatives that go by `kind`."""

    _kind_left_out: str | None = None

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """A class of settings."""
        content = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        properties = content.get("properties", {})
        for name, text in field_docs(model).items():
            if name in properties:
                properties[name] = {**properties[name], "description": text}
        for name, field in model.model_fields.items():
            alias = field.validation_alias
            others = [str(other) for other in alias.choices] if isinstance(alias, AliasChoices) else []
            known = [properties[other] for other in (name, *others) if other in properties]
            for other in others:
                properties.setdefault(other, known[0])
        return content

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """What is done to a value first may give it the `kind` that it lacks."""
        before, self._kind_left_out = self._kind_left_out, _kind_of_nothing(schema)
        try:
            return super().function_before_schema(schema)
        finally:
            self._kind_left_out = before

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Alternatives by `kind`: one `if … then …` each, which editors explain better than `oneOf`."""
        discriminator = schema["discriminator"]
        default = str(discriminator({})) if callable(discriminator) else self._kind_left_out
        self._kind_left_out = None
        choices = {str(tag): self.generate_inner(choice) for tag, choice in schema["choices"].items()}
        kinds = [tag for tag in choices if tag != default or not callable(discriminator)]
        rules = [
            {"if": {"properties": {"kind": {"const": tag}}, "required": ["kind"]}, "then": choices[tag]}
            for tag in kinds
        ]
        content: dict[str, Any] = {
            "type": "object",
            "properties": {"kind": {"anyOf": [{"enum": kinds}, _OWN_CLASS]}},
            "allOf": rules,
        }
        if default in choices:
            rules.append({"if": {"not": {"required": ["kind"]}}, "then": choices[str(default)]})
        else:
            content["required"] = ["kind"]
        return content


def _kind_of_nothing(schema: core_schema.BeforeValidatorFunctionSchema) -> str | None:
    """The `kind` that a validator gives to an empty section."""
    function: Callable[..., Any] = schema["function"]["function"]
    try:
        found = function({})
    except (TypeError, ValueError):
        return None  # it takes something else
    return str(found["kind"]) if isinstance(found, dict) and "kind" in found else None
