"""Sphinx settings of the documentation: `sphinx-build -W docs build/docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from settings_page import settings_tables

from pyacemaker import __version__

project = "pyacemaker"
author = "The pyacemaker developers"
copyright = "The pyacemaker developers"
release = version = __version__

extensions = ["myst_parser"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pyacemaker {__version__}"
html_show_sphinx = False
html_copy_source = False
nitpicky = True
show_warning_types = True

AWAITED = ("finetuning", "pacemaker", "delta", "exploration")
"""Pages that are being written: left out of the contents until they are there."""

SETTINGS_MARK = "<!-- the settings -->"


def _complete(app, docname, source):
    """Write the tables of all settings into the page that asks for them, from the classes as they are."""
    if SETTINGS_MARK in source[0]:
        source[0] = source[0].replace(SETTINGS_MARK, settings_tables())
    for page in AWAITED if docname == "index" else ():
        if page not in app.env.found_docs:
            source[0] = source[0].replace(f"\n{page}\n", "\n")


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", _complete)
