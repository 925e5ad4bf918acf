"""After step 7: the gates before release. Each is measured and kept on its own; limits are judged later."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyacemaker.base import fingerprint
from pyacemaker.config import PyAceConfig
from pyacemaker.errors import OracleError, PotentialFormatError, TooManyFailuresError
from pyacemaker.files import sha256_file, write_json
from pyacemaker.generators.anchors import CRYSTAL_ANCHORS, MOLECULE_ANCHORS
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.extrapolation import ActiveSet
from pyacemaker.structures import Dataset, Labels
from pyacemaker.structures.formats import read_structures
from pyacemaker.validation.gate import Gate, Subject, no_labels
from pyacemaker.validation.gates import answer
from pyacemaker.workflow.labelling import label_structures
from pyacemaker.workflow.step import Step, StepContext

log = logging.getLogger(__name__)

MOST = 4
"""Crystals, and molecules, that are examined: the first ones of the pool."""


def examine(context: StepContext) -> None:
    """Write `gates.json`: what every gate measured, by name, with the curves.

    A gate's answer is kept in `measured/` as soon as it is there, so that a killed step goes on where it was.
    """
    gates = list(context.config.gates.chosen())
    identity = _identity(context)
    subject = _subject(context)
    found: dict[str, Any] = {}
    for number, gate in enumerate(gates):
        context.progress("examining, gates", number, len(gates))
        key = fingerprint([gate.identity(), identity, _looked_at(gate, context.config)])[:16]
        path = context.directory / "measured" / f"{gate.name}-{key}.json"
        one = _measured(gate, subject, path)
        if one is not None:
            found[gate.name] = one
            log.info("gate %s: %s", gate.name, _words(one))
    context.progress("examining, gates", len(gates), len(gates))
    write_json(context.directory / "gates.json", found)


def _looked_at(gate: Gate, config: PyAceConfig) -> list[str]:
    others = [getattr(config.gates, name) for name in gate.looks_at]
    return [other.identity() for other in others if other is not None]


def _measured(gate: Gate, subject: Subject, path: Path) -> dict[str, Any] | None:
    """The answer in `path`, or a new one, which is kept there unless the gate could not be measured."""
    if not path.is_file():
        found = answer(gate, subject)
        if found is not None and found["broken"]:
            return found
        write_json(path, found)
    kept: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8"))
    return kept


def _words(one: dict[str, Any]) -> str:
    value = "no value" if one["value"] is None else f"{one['value']:.3g} {one['unit']}"
    return f"{value} ({one['note']})" if one["note"] else value


def _identity(context: StepContext) -> list[str]:
    """What the answers depend on besides the gates' settings."""
    files = [
        context.inputs["07_delta"] / "final.yace",
        context.inputs["03_finetune"] / "teacher.model",
        context.inputs["02_label"] / "test.extxyz",
        context.inputs["01_sample"] / "pool.extxyz",
    ]
    explore = context.config.explore
    settings = [explore.fingerprint(), context.config.dft.method_key(), str(context.seed)]
    settings += [str(context.config.gates.path_labels), str(context.config.gates.volume_labels)]
    return [*(sha256_file(path) for path in files), *settings]


def _subject(context: StepContext) -> Subject:
    config, inputs = context.config, context.inputs
    pool = read_structures(inputs["01_sample"] / "pool.extxyz")
    final = ACEPotential.from_yace(inputs["07_delta"] / "final.yace")
    active_set, why = _active_set(inputs["07_delta"], final)
    temperature = config.explore.highest_temperature
    train = read_structures(inputs["02_label"] / "train.extxyz")
    stability = config.gates.md_stability
    return Subject(
        student=final,
        teacher=config.foundation.tuned(inputs["03_finetune"] / "teacher.model"),
        train=train,
        test=read_structures(inputs["02_label"] / "test.extxyz"),
        pool=pool,
        crystals=_tagged(pool, CRYSTAL_ANCHORS),
        molecules=_tagged(pool, MOLECULE_ANCHORS),
        reactions=config.reactions(),
        temperature=temperature,
        dynamics=config.explore.dynamics,
        active_set=active_set,
        no_active_set=why,
        explored=_explored(inputs["04_explore"], temperature),
        dft=lambda structures: _labels(context, structures),
        path_labels=config.gates.path_labels,
        volume_labels=config.gates.volume_labels,
        plans=stability.plans(train, temperature, context.seed) if stability else (),
        seed=context.seed,
    )


def _tagged(pool: Dataset, tags: Sequence[str]) -> Dataset:
    """The first structures with these tags, main minima before competing ones."""
    found = [structure for structure in pool if structure.tag in tags]
    found.sort(key=lambda structure: "prototype" in structure.tag)
    if len(found) > MOST:
        log.info("%d of the %d minima are examined", MOST, len(found))
    return Dataset(found[:MOST])


def _active_set(delta: Path, potential: ACEPotential) -> tuple[ActiveSet | None, str]:
    facts = json.loads((delta / "active_set.json").read_text(encoding="utf-8"))
    if "missing_because" in facts:
        return None, f"there is no active set: {facts['missing_because']}"
    try:
        return ActiveSet.load(delta / "final.asi", potential), ""
    except PotentialFormatError as error:
        return None, str(error)


def _explored(explore: Path, temperature: float) -> tuple[int, int]:
    """How many trajectories the teacher ran at a temperature, and how many of them a guard ended."""
    outcomes = json.loads((explore / "trajectories.json").read_text(encoding="utf-8"))["trajectories"]
    mine = [outcome for outcome in outcomes if outcome["temperature"] == temperature]
    return len(mine), sum(outcome["event"] is not None for outcome in mine)


def _labels(context: StepContext, structures: Dataset) -> list[Labels | None]:
    """The reference method's labels, stored and counted like all others; None where it has no answer.

    A potential that does not beat its base is worth no further label.
    """
    metrics = json.loads((context.inputs["07_delta"] / "metrics.json").read_text(encoding="utf-8"))
    if not metrics["verdict"]["passed"]:
        log.info("no DFT labels for the gates: the potential is not delivered anyway")
        return no_labels(structures)
    dft = context.config.dft
    lenient = dft.model_copy(update={"limits": dft.limits.model_copy(update={"max_failed_fraction": 1.0})})
    try:
        found = label_structures(
            structures,
            lenient,
            context.executor("dft"),
            context.store,
            context.ledger,
            reason="gates",
            progress=lambda done, total, _: context.progress("DFT labels, gates", done, total),
        )
    except (OracleError, TooManyFailuresError) as error:
        log.warning("the gates go without DFT labels: %s", error)
        return no_labels(structures)
    labelled = dict(zip(found.dataset.ids, found.dataset.labels, strict=True))
    return [labelled.get(structure.id) for structure in structures]


def _settings(config: PyAceConfig) -> list[Any]:
    gates = [[gate.name, gate.identity()] for gate in config.gates.chosen()]
    budget = [config.gates.path_labels, config.gates.volume_labels]
    return [gates, budget, config.foundation.device, config.foundation.dtype, config.explore]


GATES = Step(
    name="08_gates",
    title="examine the potential before release",
    needs=("01_sample", "02_label", "03_finetune", "04_explore", "07_delta"),
    settings=_settings,
    outputs=("gates.json",),
    run=examine,
    versions=("pyacemaker", "numpy", "scipy", "numba", "mace-torch", "torch", "ase"),
)
