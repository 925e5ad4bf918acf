"""The report of a run: one HTML file, made from the files of the run directory alone."""

from pyacemaker.report.writing import report_html, write_report

__all__ = ["report_html", "write_report"]
