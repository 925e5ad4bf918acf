"""One calculation: what was asked, what came out, what it cost."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from pyacemaker.structures.structure import AtomStructure, Labels

OK = "ok"
"""The outcome of a calculation that gave a label."""
PHYSICS = frozenset({"ConvergenceError", "UnphysicalLabelError"})
"""Failures that do not depend on the machine, but may on how often and how it was tried."""


@dataclass(frozen=True)
class LabelRecord:
    """One calculation: what was asked, what came out, what it cost.

    key: of structure, settings and engine version. structure_id: content hash of the structure. engine: name
    and version. settings: the oracle's settings; method: their hash, with the engine's. outcome: `ok`, or the
    name of the error. message: the error's text. permanent: whether asking again would give the same answer
    (false after a crash, a timeout, or where the engine is not in order). effort: the oracle's `effort_key`.
    core_seconds: CPU time, or what was held where that cannot be seen (see `workflow.labelling`). started:
    ISO 8601, UTC. energy: eV. forces: (n, 3) nested tuples, eV/Å. stress: (6,), eV/Å³, ASE's order and sign;
    None without one. geometry: the structure as `geometry_of` gives it; None in records that know only its
    id. reason, round: who asked, and in which round. reused: another run that shares a store computed it.
    """

    key: str
    structure_id: str
    engine: str
    settings: Mapping[str, Any]
    outcome: str
    message: str = ""
    permanent: bool = True
    effort: str = ""
    core_seconds: float = 0.0
    started: str = ""
    energy: float | None = None
    forces: tuple[tuple[float, ...], ...] | None = None
    stress: tuple[float, ...] | None = None
    method: str = ""
    geometry: Mapping[str, Any] | None = None
    reason: str = ""
    round: int = 0
    reused: bool = False

    @property
    def is_ok(self) -> bool:
        """Whether the record holds a label."""
        return self.outcome == OK

    @property
    def is_final(self) -> bool:
        """Whether it is a label or a permanent failure: the same effort would end the same way."""
        return self.is_ok or self.permanent

    def is_settled(self, effort: str) -> bool:
        """Whether there is no point in computing it again with this `effort`."""
        return self.is_ok or (self.permanent and (self.outcome not in PHYSICS or self.effort == effort))

    @property
    def is_shared(self) -> bool:
        """Whether it holds wherever it was computed: a label, or a permanent failure of the physics."""
        return self.is_ok or (self.permanent and self.outcome in PHYSICS)

    @property
    def tag(self) -> str:
        """The structure's tag; empty where the record knows only its id."""
        return str(self.geometry["tag"]) if self.geometry is not None else ""

    def labels(self) -> Labels:
        """Energy (eV), forces (eV/Å) and stress (eV/Å³) to the last bit; `ValueError` for a failure."""
        if self.energy is None or self.forces is None:
            raise ValueError(f"record {self.key} holds no label: {self.outcome}")
        forces = np.array(self.forces, dtype=np.float64).reshape(-1, 3)
        return Labels(self.energy, forces, None if self.stress is None else np.array(self.stress))

    def structure(self) -> AtomStructure | None:
        """The structure, with its labels where there are some; None where only its id is known."""
        if self.geometry is None:
            return None
        labels = self.labels() if self.is_ok else None
        return AtomStructure(**self.geometry, source=self.engine if self.is_ok else "", labels=labels)

    @staticmethod
    def label_fields(labels: Labels) -> dict[str, Any]:
        """`labels` as the fields energy, forces and stress of a record."""
        stress = None if labels.stress is None else tuple(labels.stress.tolist())
        forces = tuple(map(tuple, labels.forces.tolist()))
        return {"energy": float(labels.energy), "forces": forces, "stress": stress}

    @staticmethod
    def geometry_of(structure: AtomStructure) -> dict[str, Any]:
        """What `structure` is made of, as JSON can hold it: all but labels, source and label weights."""
        arrays = {name: getattr(structure, name).tolist() for name in ("numbers", "positions", "cell", "pbc")}
        facts = {name: getattr(structure, name) for name in ("charge", "multiplicity", "tag", "weight")}
        info = {key: v.item() if isinstance(v, np.generic) else v for key, v in structure.info.items()}
        return {**arrays, **facts, "info": {k: v for k, v in info.items() if _is_plain(v)}}

    def to_json(self) -> str:
        """The record as one line of JSON; every float survives the round trip bit by bit."""
        content = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(content, allow_nan=False, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The record in `text`; `ValueError`, `TypeError` or `KeyError` when it is none."""
        content = json.loads(text)
        if content["forces"] is not None:
            content["forces"] = tuple(tuple(row) for row in content["forces"])
        if content["stress"] is not None:
            content["stress"] = tuple(content["stress"])
        record = cls(**content)
        if record.is_ok:
            n_forces = len(record.labels().forces)
            if record.geometry is not None and n_forces != len(record.geometry["numbers"]):
                raise ValueError(f"record {record.key} holds forces of {n_forces} atoms for another number")
        return record


def _is_plain(value: Any) -> bool:
    """Whether JSON gives `value` back as it is."""
    return isinstance(value, str | bool | int) or (isinstance(value, float) and bool(np.isfinite(value)))
