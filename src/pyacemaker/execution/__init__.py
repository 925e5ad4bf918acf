"""Where work runs: in this process, or in worker processes on this machine."""

from typing import Annotated

from pydantic import Field

from pyacemaker.base import plugin
from pyacemaker.execution.base import Executor, Outcome
from pyacemaker.execution.inline import InlineExecutor
from pyacemaker.execution.local import LocalExecutor

BuiltinExecutor = Annotated[InlineExecutor | LocalExecutor, Field(discriminator="kind")]
AnyExecutor = Annotated[BuiltinExecutor, plugin(Executor)]
"""Any executor of this package, or `kind: module:Class`."""

__all__ = ["AnyExecutor", "Executor", "InlineExecutor", "LocalExecutor", "Outcome"]
