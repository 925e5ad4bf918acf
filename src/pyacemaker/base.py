"""Settings: frozen, strict, hashable pydantic models, and the unions that strategies form."""

import hashlib
import importlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)

from pyacemaker.files import sha256_file


class Spec(BaseModel):
    """A frozen settings object: it refuses unknown keys and has a stable fingerprint.

    A strategy (generator, selector, oracle, trainer, baseline, executor) is a `Spec` with one verb. It is the
    user's configuration, the plug-in and the cache key at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def fingerprint(self) -> str:
        """SHA-256 of the class and all settings (defaults included), as 64 hexadecimal digits.

        An `InputFile` counts by its content, not by its path.
        """
        cls = type(self)
        settings = self.model_dump(mode="json", serialize_as_any=True, context={"fingerprint": True})
        return fingerprint([cls.__module__, cls.__qualname__, settings])

    @model_validator(mode="before")
    @classmethod
    def _own_kind(cls, value: Any) -> Any:
        """What a strategy from elsewhere writes out can be read by its class too."""
        if isinstance(value, dict) and _is_plugin(cls) and value.get("kind") == _plugin_kind(cls):
            return {key: item for key, item in value.items() if key != "kind"}
        return value

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        for name, field in type(self).model_fields.items():
            # serialize_as_any, which plug-ins need, passes over the serializers of single fields
            for serializer in field.metadata:
                if isinstance(serializer, PlainSerializer) and name in content:
                    content[name] = serializer.func(getattr(self, name), info)  # type: ignore[call-arg]
        return {**content, "kind": _plugin_kind(type(self))} if _is_plugin(type(self)) else content


def fingerprint(content: Any) -> str:
    """SHA-256 of `content` (anything JSON can hold) in canonical JSON, as 64 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _existing_file(path: Path, info: ValidationInfo) -> Path:
    base_dir = (info.context or {}).get("base_dir")
    found = Path(base_dir, path) if base_dir is not None else path
    if found.is_dir():
        raise ValueError(f"{found} is a directory; expected a file")
    if not found.is_file():
        raise ValueError(f"the file {found} does not exist; give a path relative to the config file")
    return found


def _file_identity(path: Path, info: SerializationInfo) -> str:
    if (info.context or {}).get("fingerprint"):
        return f"sha256:{sha256_file(path)}"
    return str(path)


InputFile = Annotated[Path, AfterValidator(_existing_file), PlainSerializer(_file_identity, return_type=str)]
"""A file that a setting names: relative to the config file (validation context `base_dir`), and existing."""


_STRATEGIES: set[type[Spec]] = set()


def plugin(base: type[Spec]) -> WrapValidator:
    """A validator that also accepts `kind: my_lab.module:ClassName`, a subclass of `base` from elsewhere.

    Use it around a discriminated union: ``Annotated[BuiltinOracle, plugin(Oracle)]``. The class receives the
    mapping without its `kind` key, and gets it back when it is written out.
    """
    _STRATEGIES.add(base)

    def validate(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if isinstance(value, base):
            return value
        kind = value.get("kind") if isinstance(value, dict) else None
        if isinstance(kind, str) and ":" in kind:
            settings = {key: item for key, item in value.items() if key != "kind"}
            return _load_class(kind, base).model_validate(settings, context=info.context)
        return handler(value)

    return WrapValidator(validate)


def _is_plugin(cls: type[Spec]) -> bool:
    """Whether `cls` is a strategy from outside the package of its family."""
    families = [base for base in _STRATEGIES if issubclass(cls, base)]
    package = cls.__module__.partition(".")[0]
    return bool(families) and all(base.__module__.partition(".")[0] != package for base in families)


def _plugin_kind(cls: type[Spec]) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _load_class(kind: str, base: type[Spec]) -> type[Spec]:
    module_name, _, class_name = kind.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"kind {kind!r} cannot be imported ({error}); expected module:ClassName of an installed module"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"kind {kind!r} is not a subclass of {base.__module__}.{base.__name__}")
    return found
