"""The verdict: is there a potential, how good is it, and what is wrong with it."""

from typing import Any

from pyacemaker.report.numbers import ABSENT, count, fixed
from pyacemaker.report.page import Block, Chips, Facts, Missing, Section, Table, Text
from pyacemaker.report.predictions import Predictions
from pyacemaker.report.run_files import MODELS, RunFiles

WHAT = {
    "foundation": "foundation (references aligned)",
    "teacher": "teacher (fine-tuned MACE)",
    "base": "base ACE",
    "final": "final ACE",
}
_COLUMNS = (
    ("energy_rmse_mev_per_atom", "energy RMSE, meV/atom", 2),
    ("energy_mae_mev_per_atom", "energy MAE, meV/atom", 2),
    ("forces_rmse_mev_per_angstrom", "force RMSE, meV/Å", 1),
    ("forces_mae_mev_per_angstrom", "force MAE, meV/Å", 1),
    ("stress_rmse_gpa", "stress RMSE, GPa", 3),
    ("stress_mae_gpa", "stress MAE, GPa", 3),
)


def standing(run: RunFiles) -> tuple[str, str]:
    """Where the run stands in a word or two, and the colour of that."""
    if run.unfinished:
        return ("running", "warn") if run.running else ("unfinished", "warn")
    passed = run.metrics.get("verdict", {}).get("passed")
    if passed is None:
        return "not judged", "warn"
    return ("delivered", "good") if passed else ("not delivered", "bad")


def verdict(run: RunFiles, _: Predictions) -> Section:
    """The answer first, then the errors behind it."""
    blocks: list[Block] = [*_answer(run)]
    test = run.metrics.get("test")
    if test is None:
        blocks.append(Missing("Errors on the test set", "step 7 has not judged the models yet"))
        return Section("verdict", "Verdict", blocks)
    blocks += [_facts(run, test), *_gate_chips(run), _errors(test)]
    return Section("verdict", "Verdict", blocks)


def _answer(run: RunFiles) -> list[Block]:
    word, colour = standing(run)
    chips = [(word, colour)]
    if run.state.rehearsal:
        chips.append(("rehearsal: not by DFT", "warn"))
    found: list[Block] = [Chips(chips)]
    if run.unfinished:
        text = f"Not done yet: {', '.join(run.unfinished)}."
        if run.metrics:
            text += " Figures of later steps stem from an earlier pass and may change."
        found.append(Text(text))
        found += [Text(f"{name}: {step.message}") for name, step in run.state.steps.items() if step.message]
    reason = run.metrics.get("verdict", {}).get("reason")
    if reason:
        found.append(Text(f"{reason[0].upper()}{reason[1:]}."))
    return found


def _errors(test: dict[str, Any]) -> Table:
    """Errors of the four models; the columns that any of them has."""
    columns = [column for column in _COLUMNS if any(column[0] in test.get(name, {}) for name in MODELS)]
    rows = [
        [WHAT[name], *(fixed(test[name].get(key), decimals) for key, _, decimals in columns)]
        for name in MODELS
        if name in test
    ]
    caption = (
        f"Errors on {count(test['structures'], 'held-out structure')} labelled by the reference method, "
        f"which no model was trained on. The RMS of their force components is "
        f"{fixed(test.get('forces_rms_ev_per_angstrom'), 2)} eV/Å."
    )
    return Table(caption, ["", *(title for _, title, _ in columns)], rows)


def _facts(run: RunFiles, test: dict[str, Any]) -> Facts:
    dft = run.metrics.get("dft") or run.state.dft
    gates = run.metrics.get("gates") or {}
    passed = sum(bool(one["passed"]) for one in gates.values())
    final = test.get("final", {})
    return Facts(
        [
            ("energy RMSE, meV/atom", fixed(final.get("energy_rmse_mev_per_atom"), 1)),
            ("force RMSE, meV/Å", fixed(final.get("forces_rmse_mev_per_angstrom"), 0)),
            ("DFT calls", str(int(dft["calls"])) if dft else ABSENT),
            ("gates passed", f"{passed} of {len(gates)}" if gates else ABSENT),
        ]
    )


def _gate_chips(run: RunFiles) -> list[Block]:
    failed = run.metrics.get("verdict", {}).get("gates_failed")
    if not failed:
        return []
    text = "Gates that did not pass; look before you use the potential for that (section Gates):"
    return [Text(text), Chips([(name.replace("_", " "), "bad") for name in failed])]
