"""Environment variables in settings: `${VAR}`."""

import os
import re

from pyacemaker.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def expand(text: str) -> str:
    """`text` with every `${VAR}` replaced by the value of the environment variable VAR.

    For what belongs to a machine or an account rather than to a run: commands, accounts, paths of
    pseudopotentials. The settings keep the name of the variable, so that a run's directory holds no secret
    and fingerprints are the same everywhere; call this where the value is used. A `$` that no braces follow
    stays, for the shell. Raises `ConfigError` naming the first variable that is not set.
    """
    return _VARIABLE.sub(lambda found: _value(found.group(1), text), text)


def _value(name: str, text: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ConfigError(
            f"the environment variable {name}, which the setting {text!r} names, is not set: "
            f"set it (export {name}=...) or write its value in the config file"
        )
    return value
