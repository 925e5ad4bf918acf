"""A MACE model as the oracle: labels from a better model, and rehearsals without an electronic structure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

from pyacemaker.oracles.base import Oracle
from pyacemaker.potentials.foundation import FoundationSettings
from pyacemaker.potentials.label_parts import LabelParts
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import AtomStructure, Dataset, Labels


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
        """The labels of many structures, in order, batched by atoms: many times faster than one by one.

        Those of one structure do not depend on the others beyond rounding. A batch that does not fit the
        memory is halved.
        """
        return _loaded(self).evaluate(structures)

    def compute_stream(
        self,
        structures: Iterable[AtomStructure],
        directory: Path,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Dataset]:
        """The structures with labels, part by part, of which each is a durable file in `directory`.

        Any number of structures in bounded memory; a call that was killed goes on where it stopped, with the
        same bytes. See `LabelParts`.
        """
        identity = f"mace {self.method_key()} {self.device} {self.max_atoms_per_batch}"
        return LabelParts(directory, identity).label(structures, lambda: _loaded(self), progress)


@lru_cache(maxsize=2)
def _loaded(oracle: MaceOracle) -> MacePotential:
    return oracle.load(Path())
