"""The delivered files: `output/` of a run."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import pyacemaker
from pyacemaker.config import PyAceConfig
from pyacemaker.files import replacing, sha256_file, write_atomic, write_json
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.structures.formats import read_structures
from pyacemaker.structures.lammps_data import write_lammps_data
from pyacemaker.structures.store import LabelStore, Ledger
from pyacemaker.validation.gates import verdicts, with_gates
from pyacemaker.workflow.state import WorkflowState

ALWAYS = ("potential.yace", "potential.json", "in.lammps", "structure.data")
OUTDATED = ("report.html",)
WITH_ACTIVE_SET = ("potential.asi", "potential.yaml")
"""What is delivered when the verdict passes, and besides when there is an active set; and what an earlier
run may have said of it."""


def publish(config: PyAceConfig, run_dir: Path) -> dict[str, Any]:
    """Write `output/` from the finished steps and return the metrics.

    `metrics.json` is always written; `potential.yace`, its model card `potential.json`, `in.lammps` and the
    `structure.data` that it starts from only when the verdict passes, `potential.asi` and `potential.yaml`
    only when there also is an active set; earlier ones are removed.
    """
    output = run_dir / "output"
    delta = run_dir / "07_delta"
    metrics: dict[str, Any] = json.loads((delta / "metrics.json").read_text(encoding="utf-8"))
    metrics["dft"] = asdict(Ledger(run_dir / "ledger.csv", LabelStore(run_dir / "labels")).totals())
    metrics["rehearsal"] = config.rehearsal
    calibration = run_dir / "02_label" / "calibration.json"
    metrics |= _examined(config, run_dir / "08_gates", metrics["verdict"])
    metrics["uncertainty"] = json.loads(calibration.read_text(encoding="utf-8"))["summary"]
    tuned = run_dir / "03_finetune" / "calibration.json"
    metrics["teacher_uncertainty"] = json.loads(tuned.read_text(encoding="utf-8"))["summary"]
    passed, graded = metrics["verdict"]["passed"], (delta / "final.asi").exists()
    potential = ACEPotential.from_yace(delta / "final.yace")
    _remove(output, *(() if passed else ALWAYS + OUTDATED), *(() if passed and graded else WITH_ACTIVE_SET))
    write_json(output / "metrics.json", metrics)
    if passed:
        with replacing(output / "potential.yace") as aside:
            shutil.copyfile(delta / "final.yace", aside)
        write_json(output / "potential.json", _card(config, run_dir, metrics))
        write_atomic(output / "in.lammps", lammps_input(potential, graded=graded))
        labelled = read_structures(run_dir / "02_label" / "train.extxyz")
        start = calmest(labelled, potential.elements)
        write_lammps_data(output / "structure.data", [start], potential.elements)
    if passed and graded:
        from pyacemaker.ace.b_basis import write_b_yaml

        with replacing(output / "potential.asi") as aside:
            shutil.copyfile(delta / "final.asi", aside)
        write_b_yaml(potential.model, output / "potential.yaml")
    return metrics


def _examined(config: PyAceConfig, directory: Path, verdict: dict[str, Any]) -> dict[str, Any]:
    """`gates`, `reactions`, `verdict` of the metrics: what the gates measured, against the present limits."""
    measured: dict[str, Any] = json.loads((directory / "gates.json").read_text(encoding="utf-8"))
    judged = verdicts(config.gates, measured)
    barrier: dict[str, Any] = measured.get("barrier") or {}
    reactions = (barrier.get("curves") or {}).get("reactions", [])
    return {"gates": judged, "reactions": reactions, "verdict": with_gates(verdict, judged)}


def _remove(output: Path, *names: str) -> None:
    for name in names:
        (output / name).unlink(missing_ok=True)


def calmest(structures: Dataset, elements: Sequence[str]) -> AtomStructure:
    """What a first run in LAMMPS starts from: most elements, smallest forces.

    Lone atoms and what is periodic in some directions only are the last choice.
    """

    def rank(structure: AtomStructure) -> tuple[bool, int, float]:
        whole = len(structure) > 1 and structure.pbc.all() == structure.pbc.any()
        forces = np.zeros((1, 3)) if structure.labels is None else structure.labels.forces
        largest = float(np.linalg.norm(forces, axis=1).max())
        return not whole, len(set(elements) - set(structure.symbols)), largest

    return min(structures, key=rank)


def lammps_input(potential: ACEPotential, *, graded: bool = False) -> str:
    """A commented LAMMPS input that reads `potential.yace`; types follow the order of its elements.

    graded: whether there is an active set, so that LAMMPS can compute extrapolation grades.
    """
    from pyacemaker.potentials.lammps_styles import pair_commands

    elements, files = potential.elements, "potential.yace"
    lines = [
        "# needs LAMMPS with the ML-PACE package; run in the folder that holds potential.yace",
        "# structure.data is one of the labelled structures: put yours in its place, with the same types",
        "# types: " + ", ".join(f"{i} = {symbol}" for i, symbol in enumerate(elements, start=1)),
    ]
    if potential.baseline is not None:
        lines.append("# the potential holds only together with the pair styles that are overlaid on pace")
    lines += ["units metal", "atom_style atomic", "newton on", "read_data structure.data"]
    lines += pair_commands(potential, elements, files=files)
    if graded:
        lines.append(
            "# extrapolation grades, every 100 steps (energies without E0), in place of these pair lines:"
        )
        with_grades = pair_commands(potential, elements, "pace/extrapolation", "potential.yaml potential.asi")
        lines += [_aligned(f"# {line}") for line in with_grades]
        lines.append("# fix             gamma all pair 100 pace/extrapolation gamma 1")
    lines += ["timestep 0.0005", "thermo 100", "velocity all create 300.0 4711", "fix 1 all nve", "run 1000"]
    return "\n".join(line if line.startswith("#") else _aligned(line) for line in lines) + "\n"


def _aligned(line: str) -> str:
    """The arguments of a command in one column with those of the others."""
    mark, command = ("# ", line[2:]) if line.startswith("# ") else ("", line)
    name, _, arguments = command.partition(" ")
    return f"{mark}{name:15s} {arguments}"


def _card(config: PyAceConfig, run_dir: Path, metrics: dict[str, Any]) -> dict[str, Any]:
    """The model card: what it was made from, by which versions, and how good it is."""
    final = run_dir / "07_delta" / "final.yace"
    potential = ACEPotential.from_yace(final)
    reference = json.loads((run_dir / "02_label" / "reference.json").read_text(encoding="utf-8"))
    return {
        "name": config.name,
        "elements": list(potential.elements),
        "cutoff_angstrom": potential.model.cutoff,
        "sha256": sha256_file(final),
        "seed": config.seed,
        "rehearsal": config.rehearsal,
        "reference_method": config.dft.version(),
        "reference_settings": config.dft.model_dump(mode="json"),
        "foundation_sha256": sha256_file(config.foundation.resolve()),
        "reference_energies_ev": reference["energies"],
        "training": json.loads((run_dir / "07_delta" / "training.json").read_text(encoding="utf-8")),
        "active_set": json.loads((run_dir / "07_delta" / "active_set.json").read_text(encoding="utf-8")),
        "test": metrics["test"],
        "pyacemaker": pyacemaker.__version__,
        "versions": WorkflowState.read(run_dir).versions,
    }
