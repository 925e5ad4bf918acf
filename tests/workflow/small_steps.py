"""Three real steps that take no time: numbers are drawn, doubled, and summed."""

import json
from dataclasses import replace

from pyacemaker.config import PyAceConfig
from pyacemaker.oracles import TbliteOracle
from pyacemaker.potentials.foundation import FoundationSettings
from pyacemaker.workflow.step import Step, StepContext


def small_config(folder, **changes) -> PyAceConfig:
    """A valid config whose files are empty; the small steps look at a few of its settings only."""
    for name in ("a.xyz", "b.xyz"):
        (folder / name).touch()
    settings = {
        "name": "small",
        "foundation": FoundationSettings(model="mace-mp-0"),
        "dft": TbliteOracle(),
        "sample": {
            "generators": [{"kind": "reaction", "reactant": folder / "a.xyz", "product": folder / "b.xyz"}]
        },
    }
    return PyAceConfig.model_validate({**settings, **changes})


def draw(context: StepContext) -> None:
    numbers = context.rng.integers(100, size=context.config.sample.n_pool).tolist()
    (context.directory / "numbers.json").write_text(json.dumps(numbers))
    context.progress("drawing", len(numbers), len(numbers))


def double(context: StepContext) -> None:
    numbers = json.loads((context.inputs["01_draw"] / "numbers.json").read_text())
    (context.directory / "doubled.json").write_text(json.dumps([2 * number for number in numbers]))
    (context.directory / "parity.json").write_text(json.dumps([number % 2 for number in numbers]))


def add_up(context: StepContext) -> None:
    doubled = json.loads((context.inputs["02_double"] / "doubled.json").read_text())
    total = sum(doubled) + context.config.delta.dft_emphasis
    (context.directory / "sum.json").write_text(json.dumps(total))


DRAW = Step("01_draw", "draw numbers", (), lambda config: [config.sample.n_pool], ("numbers.json",), draw)
DOUBLE = Step(
    "02_double",
    "double them",
    ("01_draw",),
    lambda config: [config.base],
    ("doubled.json", "parity.json"),
    double,
)
ADD_UP = Step("03_sum", "add them up", ("02_double",), lambda config: [config.delta], ("sum.json",), add_up)
STEPS = (DRAW, DOUBLE, ADD_UP)


def counting(step: Step, ran: list[str], run=None) -> Step:
    """`step`, which notes in `ran` that it ran; `run` replaces what it does."""

    def noted(context: StepContext) -> None:
        ran.append(step.name)
        (run or step.run)(context)

    return replace(step, run=noted)
