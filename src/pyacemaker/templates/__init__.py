"""Commented configs to start from, written for a structure, a composition, a molecule or a reaction."""

from pyacemaker.templates.reference import ENGINES, Reference
from pyacemaker.templates.system import System
from pyacemaker.templates.writer import Template, write_template

__all__ = ["ENGINES", "Reference", "System", "Template", "write_template"]
