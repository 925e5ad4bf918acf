# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a reaction to a potential: F⁻ + CH₃Cl → CH₃F + Cl⁻
#
# This file is three things: a tutorial that starts with the chemistry and ends with a potential in use; a
# notebook (the percent format: Jupyter with jupytext, VS Code, Spyder and PyCharm open it cell by cell);
# and an acceptance test, for every scenario ends with assertions on figures that were measured just before.
#
# ```
# python examples/UAT_AND_TUTORIAL.py            # rehearsal, minutes: GFN1-xTB plays DFT
# python examples/UAT_AND_TUTORIAL.py --full     # PBE0/def2-SVPD, as examples/sn2/config.yaml says
# python examples/UAT_AND_TUTORIAL.py --run-dir DIRECTORY
# ```
#
# In a notebook, set `PYACEMAKER_TUTORIAL=full` in the environment in place of `--full`. The run goes on
# where it was stopped, so that you may come back to any cell. Figures go to `RUN-DIRECTORY-figures/`.

# %%
import argparse
import csv
import json
import os
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import yaml
from ase import units
from ase.io import read
from ase.md.verlet import VelocityVerlet

from pyacemaker.config import load_config
from pyacemaker.errors import EngineMissingError
from pyacemaker.generators.reaction_path import Reaction, reaction_path, transition_state
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.lammps_driver import LammpsDriver
from pyacemaker.potentials.lammps_ensembles import Nve
from pyacemaker.potentials.loading import load_potential
from pyacemaker.structures import Accuracy, AtomStructure, Dataset
from pyacemaker.structures.formats import read_structures

IN_NOTEBOOK = "get_ipython" in globals()
if not IN_NOTEBOOK:
    plt.switch_backend("Agg")

options = argparse.ArgumentParser(
    description="The S_N2 reaction, from chemistry to potential.", allow_abbrev=False
)
options.add_argument("--full", action="store_true", help="PBE0 labels and the example's own settings")
options.add_argument("--run-dir", type=Path, help="default: runs/sn2 in full, runs/tutorial in rehearsal")
given = options.parse_known_args([] if IN_NOTEBOOK else None)[0]

FULL = given.full or os.environ.get("PYACEMAKER_TUTORIAL") == "full"
EXAMPLE = (Path(__file__).parent if "__file__" in globals() else Path("examples")).resolve() / "sn2"
RUN = given.run_dir or Path("runs") / ("sn2" if FULL else "tutorial")
FIGURES = RUN.with_name(RUN.name + "-figures")
FIGURES.mkdir(parents=True, exist_ok=True)
REFERENCE = "PBE0" if FULL else "GFN1-xTB"
print(f"{'full run' if FULL else 'rehearsal'} in {RUN}, {REFERENCE} is the reference")


def show(name: str) -> None:
    plt.tight_layout()
    plt.savefig(FIGURES / f"{name}.png", dpi=120)
    plt.show() if IN_NOTEBOOK else plt.close()
    print(f"figure: {FIGURES / name}.png")


# %% [markdown]
# ## 1. The chemistry
#
# Fluoride attacks methyl chloride from behind, the methyl group turns inside out like an umbrella, chloride
# leaves: Walden's inversion. In the gas phase the two ends are ion–dipole complexes. Fluoride binds carbon
# much more strongly than chloride does, so that the reaction is exothermic by more than 1 eV and its
# central barrier low or absent: GFN1-xTB has none. What makes the system hard is that it is an anion and
# that a bond breaks while another forms: a foundation model that was trained near equilibrium has not seen
# it.
#
# The example gives no more than the two ends, the same atoms in the same order. Which bonds change follows
# from them.

# %%
ends = [AtomStructure.from_atoms(read(EXAMPLE / f"{name}.xyz")) for name in ("reactant", "product")]
ends = [end.replace(charge=-1) for end in ends]
reaction = Reaction.between(*ends)
symbols = reaction.reactant.symbols


def named(bonds: tuple[tuple[int, int], ...]) -> set[str]:
    return {"-".join(sorted(symbols[k] for k in bond)) for bond in bonds}


print(f"{reaction.reactant.formula}: {named(reaction.breaking)} breaks, {named(reaction.forming)} forms")
assert named(reaction.breaking) == {"C-Cl"}
assert named(reaction.forming) == {"C-F"}

C, F, CL = (symbols.index(symbol) for symbol in ("C", "F", "Cl"))


def distance(structure: AtomStructure, i: int, j: int) -> float:
    return float(np.linalg.norm(structure.positions[i] - structure.positions[j]))


# %% [markdown]
# ## 2. The config
#
# `examples/sn2/config.yaml` is the whole input. In full it is used as it stands. The rehearsal keeps its
# structure and its labels, and shrinks the rest; a potential for research needs the larger figures.

# %%
SMALLER = {
    "finetune": {"epochs": 40},
    "explore": {"n_structures": 300, "n_trajectories": 12},
    "base": {"functions": 250},
    "gates": {"nve_drift": {"steps": 1000}, "md_stability": {"steps": 500, "n_trajectories": 2}},
}


def merged(settings: dict, changes: dict) -> dict:
    nested = {k: merged(settings[k], v) if isinstance(v, dict) else v for k, v in changes.items()}
    return {**settings, **nested}


config_file = EXAMPLE / "config.yaml"
if not FULL:
    whole = yaml.safe_load(load_config(config_file).to_yaml())
    whole["sample"]["generators"][0] |= {"n_path_rattles": 80, "grid_points": 10, "md_frames": 10}
    whole["sample"]["n_pool"] = 200
    config_file = FIGURES / "config.yaml"
    config_file.write_text(yaml.safe_dump(merged(whole, SMALLER), sort_keys=False), encoding="utf-8")
config = load_config(config_file)
print(f"{config.planned_labels()} labels planned, and {config.gate_labels()} at most for the gates")


# %% [markdown]
# The command is the one that you would type. A run may be stopped at any moment; here it stops after step
# 2, when the expensive calls have been made.


# %%
def pyacemaker_run(*more: str) -> int:
    """Exit code: 0 delivered, 1 judged and not delivered."""
    command = [
        sys.executable,
        "-m",
        "pyacemaker",
        "run",
        str(config_file),
        "--run-dir",
        str(RUN),
        "--quiet",
        *more,
    ]
    started = time.perf_counter()
    done = subprocess.run(command if FULL else [*command, "--rehearse"], check=False)
    seconds = time.perf_counter() - started
    print(f"pyacemaker run {' '.join(more)}: exit code {done.returncode} in {seconds:.0f} s")
    assert done.returncode in (0, 1), "a run ends delivered (0) or with its verdict (1)"
    return done.returncode


def ledger() -> list[dict[str, str]]:
    with (RUN / "ledger.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


assert pyacemaker_run("--until", "label") == 0
after_labels = ledger()
train, test = (read_structures(RUN / "02_label" / f"{name}.extxyz") for name in ("train", "test"))
print(f"{len(after_labels)} calls so far: {len(train)} structures to train on, {len(test)} to test on")

# %% [markdown]
# **Scenario: the labels.** What was asked for is there, but for the few that failed; the test set shares no
# structure with the training set; every call is in the ledger.

# %%
failed = [row for row in after_labels if row["outcome"] != "ok"]
assert len(train) + len(test) + len(failed) >= config.planned_labels()
assert not set(train.ids) & set(test.ids)
assert {*train.ids, *test.ids} <= {row["structure"] for row in after_labels}

pool = read_structures(RUN / "01_sample" / "pool.extxyz")
for structures, style in ((pool, "."), (train, "o"), (test, "x")):
    plt.plot(
        [distance(s, C, F) for s in structures], [distance(s, C, CL) for s in structures], style, alpha=0.6
    )
plt.legend([f"pool ({len(pool)})", f"train ({len(train)})", f"test ({len(test)})"])
plt.xlabel("C–F (Å)"), plt.ylabel("C–Cl (Å)"), plt.title("What was sampled, and what was labelled")
show("1-selection")

# %% [markdown]
# ## 3. The run
#
# The same command goes on with fine-tuning, exploration, pseudo-labels, base fit, delta learning and the
# gates.
#
# **Scenario: resuming costs no label.** The rows that the ledger had stay as they were, no calculation is
# in it twice, and a finished run that is started again does nothing: same potential, same ledger.

# %%
code = pyacemaker_run()
after_run = ledger()
assert after_run[: len(after_labels)] == after_labels
computed = [row["key"] for row in after_run if row["reused"] == "False" and row["outcome"] == "ok"]
assert len(computed) == len(set(computed)), "a label was computed twice"


def checksum(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


FINAL = RUN / "07_delta" / "final.yace"
before = checksum(FINAL)
assert pyacemaker_run() == code
assert ledger() == after_run
assert checksum(FINAL) == before
print(
    f"{len(after_run)} calls in all, {len(after_run) - len(after_labels)} for the gates; resumed with no more"
)

# %% [markdown]
# ## 4. What it is worth
#
# **Scenario: the verdict.** All models on the frozen test set, computed here from the files that the run
# left and not taken from its report. The teacher has to beat the foundation. The final potential beats the
# base, or the run says why not and delivers nothing.

# %%
models = {
    "foundation": load_potential(RUN / "07_delta" / "foundation_aligned.model"),
    "teacher": load_potential(RUN / "03_finetune" / "teacher.model"),
    "base": load_potential(RUN / "06_base" / "base.yace"),
    "final": load_potential(FINAL),
}
predicted = {name: model.evaluate(test) for name, model in models.items()}
errors = {name: Accuracy.between(labels, test.labels).as_dict() for name, labels in predicted.items()}
metrics = json.loads((RUN / "output" / "metrics.json").read_text(encoding="utf-8"))
verdict = metrics["verdict"]
ENERGY, FORCES = "energy_rmse_mev_per_atom", "forces_rmse_mev_per_angstrom"
print(f"{'RMSE on ' + str(len(test)) + ' test structures':30s} {'meV/atom':>9s} {'meV/Å':>9s}")
for name, error in errors.items():
    print(f"{name:30s} {error[ENERGY]:9.1f} {error[FORCES]:9.1f}")
print(f"verdict: {verdict['reason']}")

for name, error in errors.items():
    for key in (ENERGY, FORCES):
        assert np.isclose(error[key], metrics["test"][name][key], rtol=1e-3), (name, key)
assert errors["teacher"][FORCES] < errors["foundation"][FORCES]
assert verdict["passed"] == (code == 0) == (RUN / "output" / "potential.yace").is_file()
if verdict["passed"]:
    assert any(errors["final"][key] < errors["base"][key] for key in (ENERGY, FORCES))
    assert checksum(RUN / "output" / "potential.yace") == before
else:
    assert len(verdict["reason"]) > 20, "a potential that is held back needs a reason"

reference = np.concatenate([labels.forces.ravel() for labels in test.labels])
for name in ("foundation", "teacher", "final"):
    plt.plot(
        reference, np.concatenate([one.forces.ravel() for one in predicted[name]]), ".", label=name, alpha=0.6
    )
plt.axline((0, 0), slope=1, color="grey", lw=0.8)
(
    plt.xlabel(f"{REFERENCE} force (eV/Å)"),
    plt.ylabel("force (eV/Å)"),
    plt.legend(),
    plt.title("Frozen test set"),
)
show("2-parity")

# %% [markdown]
# ## 5. The reaction
#
# The teacher relaxes the ends and lays the path (climbing-image nudged elastic band). Along it everyone is
# asked for the energy over the reactant complex, the reference method too. These calls are the tutorial's
# own and not in the ledger.
#
# **Scenario: the profile.** The reaction is exothermic; the final potential follows the reference within
# the limits below, and closer than the foundation does.

# %%
LIMIT_MEV = 100.0  # largest distance between the profiles, of some 2000 meV of reaction energy
teacher = models["teacher"]
path = reaction_path(reaction.relaxed(teacher), teacher, n_images=15, neb_steps=30)
oracle = config.dft if FULL else config.rehearsed().dft
energies = {name: np.array([one.energy for one in model.evaluate(path)]) for name, model in models.items()}
energies[REFERENCE] = np.array([oracle.label(image).energy for image in path])
top = path.ids.index(transition_state(reaction, path, energies["teacher"]).id)
profiles = {name: energy - energy[0] for name, energy in energies.items()}
off = {name: 1e3 * float(np.abs(one - profiles[REFERENCE]).max()) for name, one in profiles.items()}

print(
    f"{'on the teacher’s path':21s} {'barrier (eV)':>12s} {'reaction (eV)':>14s} {'largest error (meV)':>20s}"
)
for name, one in profiles.items():
    print(f"{name:21s} {one[top]:12.3f} {one[-1]:14.3f} {off[name]:20.1f}")
if profiles["teacher"][top] < 0:
    print("no barrier: the figure is that of the image halfway between the bonds")
assert profiles[REFERENCE][-1] < -1.0
assert off["final"] < LIMIT_MEV
assert off["final"] < off["foundation"]

along = [distance(image, C, CL) - distance(image, C, F) for image in path]
for name, one in profiles.items():
    plt.plot(along, one, "k-o" if name == REFERENCE else "-", label=name)
plt.xlabel("d(C–Cl) − d(C–F) (Å)"), plt.ylabel("energy (eV)"), plt.legend(), plt.title("Along the reaction")
show("3-profile")

# %% [markdown]
# ## 6. Molecular dynamics with ASE
#
# The potential is an ASE calculator. A trajectory at constant energy starts at the path's middle, halfway
# between the bonds, with the velocities of 300 K: the methyl group inverts and chloride flies off with what
# the reaction releases.
#
# **Scenario: the dynamics.** Energy is conserved although about an electronvolt turns into motion; C–F
# ends bound; and the reference, asked at frames of the trajectory, agrees about the forces.

# %%
TIMESTEP, STEPS, STRIDE = 0.25, 800, 20  # fs, steps, steps from one stored frame to the next
atoms = path[top].to_atoms()
atoms.calc = models["final"].calculator()
masses = atoms.get_masses()[:, None]
momenta = np.sqrt(masses * units.kB * 300) * np.random.default_rng(1).standard_normal((len(atoms), 3))
atoms.set_momenta(
    momenta - masses * momenta.sum(axis=0) / masses.sum()
)  # Maxwell–Boltzmann, at rest as a whole
dynamics = VelocityVerlet(atoms, TIMESTEP * units.fs)
frames, total, kinetic = [], [], []
for _ in range(STEPS // STRIDE + 1):
    frames.append(path[top].replace(positions=atoms.get_positions(), tag="md", labels=None))
    total.append(atoms.get_total_energy() / len(atoms))
    kinetic.append(atoms.get_kinetic_energy())
    dynamics.run(STRIDE)
times = TIMESTEP * STRIDE * np.arange(len(frames))
slope = 1e3 * float(np.polyfit(1e-3 * times, total, 1)[0])
swing = 1e3 * float(np.ptp(total))
asked = Dataset(frames[:: len(frames) // 8])
truth = [oracle.label(frame) for frame in asked]
in_motion = Accuracy.between(models["final"].evaluate(asked), truth).as_dict()
spread = 1e3 * float(np.sqrt(np.mean(np.concatenate([one.forces.ravel() for one in truth]) ** 2)))

print(f"{times[-1]:.0f} fs: drift {slope:.3f} meV/atom/ps, total energy within {swing:.3f} meV/atom")
print(f"kinetic energy from {kinetic[0]:.2f} to {max(kinetic):.2f} eV")
print(f"C–F {distance(frames[-1], C, F):.2f} Å, C–Cl {distance(frames[-1], C, CL):.2f} Å at the end")
print(f"force RMSE at {len(asked)} of its frames: {in_motion[FORCES]:.0f} of {spread:.0f} meV/Å")
assert abs(slope) < 5.0
assert swing < 5.0
assert max(kinetic) - kinetic[0] > 0.5
assert distance(frames[-1], C, F) < 1.8 < 2.5 < distance(frames[-1], C, CL)
assert in_motion[FORCES] < 0.25 * spread

for pair, name in (((C, F), "C–F"), ((C, CL), "C–Cl")):
    plt.plot(times, [distance(frame, *pair) for frame in frames], label=name)
plt.xlabel("time (fs)"), plt.ylabel("distance (Å)"), plt.legend(), plt.title("The reaction in time")
show("4-dynamics")

# %% [markdown]
# ## 7. In LAMMPS
#
# `LammpsDriver` runs LAMMPS from Python, with `pair_style pace` where it has ML-PACE and through `fix
# external` where it has not. The input for a LAMMPS of your own is `output/in.lammps`.
#
# **Scenario: LAMMPS.** Energy and forces are those of ASE, and its own dynamics conserve the energy.
# Without LAMMPS the scenario is skipped, and says so.

# %%
potential = ACEPotential.from_yace(FINAL)
product = path[-1]
try:
    driver = LammpsDriver(product, potential)
except EngineMissingError as error:
    print(f"skipped: {error}")
else:
    with driver:
        there, here = driver.labels(), potential.evaluate([product])[0]
        states = driver.run(Nve(steps=400, timestep=TIMESTEP, interval=20, start_temperature=300))
    de, df = abs(there.energy - here.energy), float(np.abs(there.forces - here.forces).max())
    lammps_swing = 1e3 * float(np.ptp([state.total_energy for state in states])) / len(product)
    print(f"route {driver.route}: energy off by {de:.1e} eV, forces by {df:.1e} eV/Å")
    print(f"{len(states)} states, total energy within {lammps_swing:.3f} meV/atom")
    assert de < 1e-6
    assert df < 1e-5
    assert lammps_swing < 5.0

# %% [markdown]
# ## 8. Your turn
#
# `pyacemaker report` draws all of this and more into one page; `pyacemaker template` writes a config for
# your own reaction; the full run of this file takes some fifteen minutes with PBE0.

# %%
print(f"all scenarios passed; figures in {FIGURES}, report in {RUN / 'output' / 'report.html'}")
