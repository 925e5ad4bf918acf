"""The page itself: sections rendered into one HTML file that needs nothing but a browser."""

import functools
import importlib.resources
import json
import logging
from pathlib import Path
from typing import Any

import pyacemaker
from pyacemaker.errors import PyacemakerError
from pyacemaker.files import write_atomic
from pyacemaker.report.page import Missing, Section, drawings, figures
from pyacemaker.report.predictions import Predictions, predict_test_set
from pyacemaker.report.run_files import RunFiles
from pyacemaker.report.sections import SECTIONS, MakeSection
from pyacemaker.report.sections.verdict import standing

log = logging.getLogger(__name__)

REPORT = "output/report.html"
"""Where the report of a run lies in its directory."""


def write_report(run_dir: Path, out: Path | None = None) -> Path:
    """Write the report of the run in `run_dir`, finished or not, to `out`, and return that path.

    out: default `RUN/output/report.html`. The same files give the same bytes. Nothing else in the run
    directory is touched, and nothing is computed that a run pays for: only models on its disk are evaluated,
    on its test set. Model files are pickles: report on runs whose origin you trust. Raises `DataError` where
    `run_dir` is no run.
    """
    path = run_dir / REPORT if out is None else out
    write_atomic(path, report_html(run_dir))
    return path


def report_html(run_dir: Path) -> str:
    """The report of the run in `run_dir` as HTML."""
    run = RunFiles(run_dir)
    word, colour = standing(run)
    predictions = predict_test_set(run)
    sections = [_made(make, run, predictions) for make in SECTIONS]
    template = _environment().get_template("page.html.j2")
    html: str = template.render(
        name=run.state.name,
        rehearsal=run.state.rehearsal,
        standing=word,
        colour=colour,
        version=pyacemaker.__version__,
        sections=sections,
        style=_asset("report.css"),
        script=_asset("report.js"),
        plotly=_plotly(),
        figures=_embedded(figures(sections)),
        drawings=_embedded(drawings(sections)),
    )
    return html


def _made(make: MakeSection, run: RunFiles, predictions: Predictions) -> Section:
    """A section; where a file of the run is damaged, one that says so, for the others to be seen."""
    try:
        return make(run, predictions)
    except (PyacemakerError, OSError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        log.warning("the section %s of the report is left out", make.__name__, exc_info=error)
        why = f"a file of the run is not as expected: {type(error).__name__}: {error}"
        name = make.__name__
        return Section(name, name.capitalize(), [Missing("This section could not be made", why)])


@functools.cache
def _environment() -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return (importlib.resources.files("pyacemaker.report") / "assets" / name).read_text(encoding="utf-8")


@functools.cache
def _plotly() -> str:
    """plotly.js as its Python package brings it."""
    path = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
    return path.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _embedded(content: dict[str, Any]) -> str:
    """JSON that can stand in a script element."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
