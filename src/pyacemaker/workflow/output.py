"""The delivered files: `output/` of a run."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyacemaker
from pyacemaker.config import PyAceConfig
from pyacemaker.files import replacing, sha256_file, write_atomic, write_json
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.structures.store import LabelStore, Ledger
from pyacemaker.workflow.state import WorkflowState

ALWAYS = ("potential.yace", "potential.json", "in.lammps")
WITH_ACTIVE_SET = ("potential.asi", "potential.yaml")
"""What is delivered when the verdict passes, and besides when there is an active set."""


def publish(config: PyAceConfig, run_dir: Path) -> dict[str, Any]:
    """Write `output/` from the finished steps and return the metrics.

    `metrics.json` is always written; `potential.yace`, its model card `potential.json` and `in.lammps` only
    when the verdict passes, `potential.asi` and `potential.yaml` only when there also is an active set;
    earlier ones are removed.
    """
    output = run_dir / "output"
    delta = run_dir / "07_delta"
    metrics: dict[str, Any] = json.loads((delta / "metrics.json").read_text(encoding="utf-8"))
    metrics["dft"] = asdict(Ledger(run_dir / "ledger.csv", LabelStore(run_dir / "labels")).totals())
    metrics["rehearsal"] = config.rehearsal
    calibration = run_dir / "02_label" / "calibration.json"
    metrics["uncertainty"] = json.loads(calibration.read_text(encoding="utf-8"))["summary"]
    tuned = run_dir / "03_finetune" / "calibration.json"
    metrics["teacher_uncertainty"] = json.loads(tuned.read_text(encoding="utf-8"))["summary"]
    passed, graded = metrics["verdict"]["passed"], (delta / "final.asi").exists()
    potential = ACEPotential.from_yace(delta / "final.yace")
    _remove(output, *(() if passed else ALWAYS), *(() if passed and graded else WITH_ACTIVE_SET))
    write_json(output / "metrics.json", metrics)
    if passed:
        with replacing(output / "potential.yace") as aside:
            shutil.copyfile(delta / "final.yace", aside)
        write_json(output / "potential.json", _card(config, run_dir, metrics))
        write_atomic(output / "in.lammps", lammps_input(potential, graded=graded))
    if passed and graded:
        from pyacemaker.ace.b_basis import write_b_yaml

        with replacing(output / "potential.asi") as aside:
            shutil.copyfile(delta / "final.asi", aside)
        write_b_yaml(potential.model, output / "potential.yaml")
    return metrics


def _remove(output: Path, *names: str) -> None:
    for name in names:
        (output / name).unlink(missing_ok=True)


def lammps_input(potential: ACEPotential, *, graded: bool = False) -> str:
    """A commented LAMMPS input that reads `potential.yace`; types follow the order of its elements.

    graded: whether there is an active set, so that LAMMPS can compute extrapolation grades.
    """
    elements = " ".join(potential.elements)
    grades = (
        "# extrapolation grades, every 100 steps (energies without E0), in place of the two lines above:\n"
        "# pair_style      pace/extrapolation\n"
        f"# pair_coeff      * * potential.yaml potential.asi {elements}\n"
        "# fix             gamma all pair 100 pace/extrapolation gamma 1\n"
    )
    return (
        "# needs LAMMPS with the ML-PACE package; run in the folder that holds potential.yace\n"
        "# types: " + ", ".join(f"{i} = {el}" for i, el in enumerate(potential.elements, start=1)) + "\n"
        "units           metal\n"
        "atom_style      atomic\n"
        "newton          on\n"
        "read_data       structure.data\n"
        "pair_style      pace\n"
        f"pair_coeff      * * potential.yace {elements}\n"
        f"{grades if graded else ''}"
        "timestep        0.0005\n"
        "thermo          100\n"
        "velocity        all create 300.0 4711\n"
        "fix             1 all nve\n"
        "run             1000\n"
    )


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
