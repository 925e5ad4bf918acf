"""Settings of the refinement; what it does is tested beside `pyacemaker.ace.refine`."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from pyacemaker.trainers.refinement import Refinement, automatic


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


def test_automatic_spares_no_structure_of_few_and_nothing_of_large_problems():
    few, more, many, huge = (
        automatic(82, structures, atoms)
        for structures, atoms in ((90, 286), (300, 900), (2000, 30_000), (5000, 100_000))
    )
    assert few is not None
    assert few.judge == "folds"
    assert more is not None
    assert (more.judge, more.radial) == ("held-out", True)
    assert many is not None
    assert (many.judge, many.radial) == ("held-out", False)
    assert huge is None
