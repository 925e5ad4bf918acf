"""Where everything came from: seeds, versions, checksums, settings, warnings."""

from pyacemaker.files import sha256_file
from pyacemaker.report.page import Block, Listing, Missing, Section, Table
from pyacemaker.report.predictions import Predictions
from pyacemaker.report.run_files import RunFiles

MAX_WARNINGS = 30
"""The last warnings of the log that are shown."""
_DELIVERED = (
    "potential.yace",
    "potential.asi",
    "potential.yaml",
    "potential.json",
    "in.lammps",
    "structure.data",
    "metrics.json",
)


def provenance(run: RunFiles, _: Predictions) -> Section:
    """All that another person needs to make the same run."""
    blocks: list[Block] = [_seeds(run), _versions(run), *_delivered(run), *_checksums(run)]
    blocks += _energies(run)
    text = run.text("config.yaml")
    if text:
        blocks.append(Listing("config.yaml: the settings, with every default spelled out", text))
    blocks += _warnings(run)
    return Section("provenance", "Provenance", blocks)


def _seeds(run: RunFiles) -> Table:
    rows = [["seed of the run", str(run.state.seed)]]
    rows += [[f"key of {name}", step.key] for name, step in run.state.steps.items() if step.key]
    caption = "A step's key is the hash of its settings, inputs, seed and the versions that matter."
    return Table(caption, ["", "value"], rows, text=2)


def _versions(run: RunFiles) -> Table:
    rows = [[name, version] for name, version in run.state.versions.items()]
    return Table("Versions.", ["package", "version"], rows, text=2)


def _delivered(run: RunFiles) -> list[Block]:
    output = run.directory / "output"
    rows = [
        [f"output/{name}", f"{(output / name).stat().st_size / 1024:.0f}", sha256_file(output / name)]
        for name in _DELIVERED
        if (output / name).is_file()
    ]
    if not rows:
        return [Missing("Delivered files", "output/ is empty: the run is not finished")]
    return [Table("Delivered files.", ["file", "KiB", "SHA-256"], rows, notes=1)]


def _checksums(run: RunFiles) -> list[Block]:
    rows = []
    for step in run.state.steps:
        manifest = run.manifest(step)
        if manifest is not None:
            rows += [f"{digest}  {step}/{name}" for name, digest in sorted(manifest.outputs.items())]
    if not rows:
        return [Missing("Checksums of the steps", "no step is done yet")]
    return [Listing("SHA-256 of every step's files, from the manifests", "\n".join(rows))]


def _energies(run: RunFiles) -> list[Block]:
    found = run.json("02_label/reference.json")
    if not found:
        return []
    atoms = found.get("isolated_atoms_ev", {})
    rows = [
        [element, f"{energy:.6f}", f"{atoms[element]:.6f}" if element in atoms else "–"]
        for element, energy in found["energies"].items()
    ]
    columns = ["element", "reference energy E0, eV", "isolated atom by DFT, eV"]
    left = found.get("residual_mev_per_atom")
    said = f" {left:.1f} meV/atom remain between the foundation model and DFT after that." if left else ""
    caption = f"Energy references that teacher, base and final potential share.{said}"
    return [Table(caption, columns, rows)]


def _warnings(run: RunFiles) -> list[Block]:
    text = run.text("run.log") or ""
    lines = [line for line in text.splitlines() if " WARNING " in line or " ERROR " in line]
    if not lines:
        return []
    shown = lines[-MAX_WARNINGS:]
    which = f"the last {len(shown)} of {len(lines)}" if len(shown) < len(lines) else str(len(lines))
    return [Listing(f"Warnings in run.log ({which})", "\n".join(shown))]
