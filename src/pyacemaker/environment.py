"""Environment variables in settings: `${VAR}`."""

import os
import re

from pyacemaker.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

SHORTEST = 4
"""Characters of the shortest value that is hidden."""
_put_in: dict[str, str] = {}
"""In this process: the values of variables that were put in, and the variables' names."""


def expand(text: str) -> str:
    """`text` with every `${VAR}` replaced by the value of the environment variable VAR.

    For what belongs to a machine or an account rather than to a run: commands, accounts, paths of
    pseudopotentials. The settings keep the name of the variable, so that a run's directory holds no secret
    and fingerprints are the same everywhere; call this where the value is used. A `$` that no braces follow
    stays, for the shell. Raises `ConfigError` naming the first variable that is not set.
    """
    return _VARIABLE.sub(lambda found: _value(found.group(1), text), text)


def hide(text: str) -> str:
    """`text` with the values that `expand` has put in replaced by `${VAR}`: for records, logs and messages.

    Values of fewer than four characters stay: they occur everywhere.
    """
    for value in sorted(_put_in, key=len, reverse=True):
        text = text.replace(value, f"${{{_put_in[value]}}}")
    return text


def _value(name: str, text: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ConfigError(
            f"the environment variable {name}, which the setting {text!r} names, is not set: "
            f"set it (export {name}=...) or write its value in the config file"
        )
    if len(value) >= SHORTEST:
        _put_in[value] = name
    return value
