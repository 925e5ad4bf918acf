"""What acts at short range: ZBL cores, additive baselines, and the invented rows of a repulsive wall."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from pyacemaker.baselines import AnyBaseline, Baseline
from pyacemaker.structures import Dataset
from pyacemaker.trainers.ace_basis import BasisSettings, Positive, window_indices
from pyacemaker.trainers.ace_labels import baseline_labels

if TYPE_CHECKING:
    from pyacemaker.ace.basis import Basis
    from pyacemaker.ace.pairs import PairStatistics
    from pyacemaker.ace.restraints import RestraintRows


class ShortRange(BasisSettings):
    """A basis, and what keeps atoms apart where there is no data."""

    baseline: Literal["zbl", "none"] | AnyBaseline = "zbl"
    """What acts when two atoms come closer than in any data: `zbl`, the screened nuclear repulsion as the
    potential's own core, or nothing. A mapping like `{kind: zbl, window: [0.5, 0.8]}` is subtracted from the
    labels before the fit instead: the potential has to be used together with it."""
    windows: Mapping[str, Positive] = Field(default_factory=dict)
    """Å, for pairs like `C-H`: the distance where ZBL's share ends; chosen from the data for the others."""
    window_width: Positive | None = None
    """Å below that end over which ZBL takes over, one for all pairs; None: chosen from the ends."""
    restraints: bool = True
    """Whether invented rows keep dimers and compressed crystals repulsive between the window and the closest
    distance in the data; never with a prior potential."""

    @model_validator(mode="after")
    def _check_fit(self) -> Self:
        if self.windows and self.additive_baseline is not None:
            raise ValueError("windows belong to `baseline: zbl`; an additive baseline has its own settings")
        return self

    @property
    def additive_baseline(self) -> Baseline | None:
        """The baseline that is subtracted from the labels, None where there is none."""
        return self.baseline if isinstance(self.baseline, Baseline) else None

    def with_cores(self, basis: "Basis", statistics: "PairStatistics") -> "Basis":
        """The basis with a `zbl` core on every bond, or as it is where `baseline` is another."""
        if self.baseline != "zbl":
            return basis
        ends = self._windows(basis.elements, statistics)
        bonds = {
            pair: replace(bond, prehc=1.0, rcut_in=ends[pair][0], dcut_in=ends[pair][1], inner_cutoff="zbl")
            for pair, bond in basis.bonds.items()
        }
        return replace(basis, bonds=bonds)

    def _windows(
        self, elements: tuple[str, ...], statistics: "PairStatistics"
    ) -> dict[tuple[int, int], tuple[float, float]]:
        from pyacemaker.ace.pairs import core_windows

        given = window_indices(self.windows, elements)
        return core_windows(statistics, elements, given, self.window_width)

    def invented(self, basis: "Basis", statistics: "PairStatistics") -> Dataset:
        """The structures of the invented rows, labelled with guesses."""
        from pyacemaker.ace.restraints import restraint_structures, walls

        windows = self._windows(basis.elements, statistics)
        pairs = walls(basis.elements, statistics, windows, basis.cutoff)
        return Dataset(restraint_structures(pairs, statistics))

    def walls(self, basis: "Basis", statistics: "PairStatistics") -> "RestraintRows":
        """The invented rows."""
        from pyacemaker.ace.design import Design
        from pyacemaker.ace.restraints import restraint_rows

        structures, baseline = self.invented(basis, statistics), self.additive_baseline
        extra = None if baseline is None else baseline_labels(structures, baseline)
        return restraint_rows(Design(basis), structures, extra)
