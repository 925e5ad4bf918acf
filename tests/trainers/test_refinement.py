"""Settings of the refinement; what it does is tested beside `pyacemaker.ace.refine`."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from pyacemaker.trainers.refinement import Refinement


@pytest.mark.parametrize(
    "wrong", [{"densities": 3}, {"huber": 0.0}, {"validation_fraction": 0.7}, {"iterations": 0}, {"step": 1}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        Refinement(**wrong)


def test_settings_are_cheap_to_import():
    """The configuration imports them: no compiled kernels with them."""
    code = "import sys, pyacemaker.trainers.refinement as r; r.Refinement(); print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
