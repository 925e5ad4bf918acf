"""Plays back what the real `pacemaker` wrote (tests/data/pacemaker), so that the wrapper meets real files.

Nothing is computed and no potential is made up. `REPLAY` in the environment says how the recording goes:
`crash` (the first call ends after four iterations), `hang`, `nan` (the loss of the third line), `fail` (at
once), `always-crash`.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "data" / "pacemaker"
PROGRAMS = ("pacemaker", "pace_yaml2yace")


def install(folder: Path) -> str:
    """Executables in `folder` that play back; the command of `pacemaker`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        script = folder / name
        script.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"import replay_pacemaker\nreplay_pacemaker.{name}(sys.argv[1:])\n",
            encoding="utf-8",
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(folder / "pacemaker")


def pacemaker(arguments: list[str]) -> None:
    if "--version" in arguments:
        sys.stdout.write("pacemaker/pyace version: 0.2.7+172.gd1c213a\n")
        return
    calls = Path("calls.json")
    before = json.loads(calls.read_text()) if calls.exists() else []
    calls.write_text(
        json.dumps([*before, {"arguments": arguments, "threads": os.environ["OMP_NUM_THREADS"]}])
    )
    how = os.environ.get("REPLAY", "")
    if how == "fail":
        sys.exit("ValueError: something that pacemaker did not like")
    lines = (RECORDED / "metrics.txt").read_text().splitlines()
    if how == "nan":
        lines[3] = lines[3].replace(lines[3].split()[3], "nan")
    for number, line in enumerate(lines):
        with open("metrics.txt", "a") as handle:
            print(line, file=handle)
        if number:
            shutil.copy(RECORDED / "interim_potential_0.yaml", "interim_potential_0.yaml")
        time.sleep(0.02)
        if number == 4 and (how == "always-crash" or (how == "crash" and not before)):
            sys.exit("killed")
        if number == 3 and how == "hang":
            child = subprocess.Popen(["sleep", "600"])
            Path("child.pid").write_text(str(child.pid))
            time.sleep(600)
    for name in ("output_potential.yaml", "log.txt", "test_metrics.txt"):
        shutil.copy(RECORDED / name, name)


def pace_yaml2yace(arguments: list[str]) -> None:
    source, _, target = arguments
    assert Path(source).read_bytes() == (RECORDED / "output_potential.yaml").read_bytes()
    shutil.copy(RECORDED / "output_potential.yace", target)
