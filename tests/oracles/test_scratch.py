import os
import signal
import subprocess
import sys

import pytest

from pyacemaker.oracles.scratch import scratch_directory

HOLD = """
import sys, time
from pathlib import Path
from pyacemaker.oracles.scratch import scratch_directory
with scratch_directory(Path(sys.argv[1]), "held") as directory:
    print(directory, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("keep", "fails", "stays"),
    [
        ("never", False, 0),
        ("never", True, 0),
        ("failed", False, 0),
        ("failed", True, 1),
        ("always", False, 1),
    ],
)
def test_what_stays(tmp_path, keep, fails, stays):
    try:
        with scratch_directory(tmp_path / "new" / "root", "x", keep) as directory:
            (directory / "file").write_text("text")
            if fails:
                raise RuntimeError("stop")
    except RuntimeError:
        assert fails
    left = list((tmp_path / "new" / "root").iterdir())
    assert len(left) == stays
    assert all(sorted(path.name for path in folder.iterdir()) == ["file"] for folder in left)


def test_directories_of_killed_processes_go_and_others_stay(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        held = holder.stdout.readline().strip()
        with scratch_directory(tmp_path, "first"):
            assert os.path.isdir(held)
        with scratch_directory(tmp_path, "kept", "always") as kept:
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with scratch_directory(tmp_path, "second") as now:
            assert not os.path.isdir(held)
            assert {kept, now} == set(tmp_path.iterdir())
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
