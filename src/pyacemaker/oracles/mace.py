"""A MACE model as the oracle: labels from a better model, and rehearsals without an electronic structure."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

from pyacemaker.oracles.base import Oracle
from pyacemaker.potentials.foundation import FoundationSettings
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import AtomStructure, Labels


class MaceOracle(FoundationSettings, Oracle):
    """Labels from a MACE model, given by name or file like the foundation model."""

    kind: Literal["mace"] = "mace"

    not_in_key: ClassVar[frozenset[str]] = Oracle.not_in_key | {"max_atoms_per_batch", "sha256", "device"}

    def version(self) -> str:
        """MACE's version; the model itself is in the key by its content."""
        return f"mace-torch {version('mace-torch')}"

    def compute(self, structure: AtomStructure) -> Labels:
        """Energy (eV), forces (eV/Å), stress (eV/Å³, cells periodic in three directions)."""
        return self.compute_batch([structure])[0]

    def compute_batch(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        """The labels of many structures, in order, batched by atoms: many times faster than one by one."""
        return _loaded(self).evaluate(structures)


@lru_cache(maxsize=2)
def _loaded(oracle: MaceOracle) -> MacePotential:
    return oracle.load(Path())
