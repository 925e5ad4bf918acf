"""A page of HTML taken apart with the standard library: what a test wants to know of it."""

import json
from html.parser import HTMLParser

SECTIONS = {
    "verdict": "Verdict",
    "asked": "What was asked",
    "cost": "What it cost",
    "split": "Teacher or student",
    "parity": "Parity",
    "breakdown": "Where the errors sit",
    "worst": "The worst structures",
    "learning": "How the models learned",
    "uncertainty": "Uncertainty",
    "selection": "What was selected",
    "exploration": "Molecular dynamics",
    "gates": "Gates",
    "provenance": "Provenance",
}
"""Anchors and titles of the sections of a report."""
VOID = {"meta", "link", "br", "img", "input", "hr"}


class HtmlPage(HTMLParser):
    """The ids, tables, texts and scripts of a page; `ValueError` where tags are not closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.text = text
        self.ids, self.addresses, self.open = [], [], []
        self.tables, self.scripts, self.headings = {}, {}, []
        self._table = self._cell = self._script = self._heading = None
        self.words = []
        self.feed(text)
        self.close()
        if self.open:
            raise ValueError(f"never closed: {self.open}")

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if "id" in found:
            self.ids.append(found["id"])
        self.addresses += [found[key] for key in ("src", "href", "action", "data") if key in found]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = self.tables.setdefault(found["aria-label"], [])
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._cell = ""
        elif tag == "script":
            self._script = found.get("id", f"script {len(self.scripts)}")
            self.scripts[self._script] = ""
        elif tag == "h2":
            self._heading = ""

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            raise ValueError(f"</{tag}> closes {self.open[-3:]}, line {self.getpos()[0]}")
        self.open.pop()
        if tag in ("td", "th"):
            self._table[-1].append(" ".join(self._cell.split()))
            self._cell = None
        elif tag == "script":
            self._script = None
        elif tag == "h2":
            self.headings.append(self._heading)
            self._heading = None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[self._script] += data
            return
        if self._cell is not None:
            self._cell += data
        if self._heading is not None:
            self._heading += data
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def figures(self):
        """What plotly.js is given, by the name of the figure."""
        return json.loads(self.scripts["figures"])

    @property
    def drawings(self):
        """The structures that are drawn, by name."""
        return json.loads(self.scripts["drawings"])

    @property
    def plain(self):
        """All words of the page in one line."""
        return " ".join(" ".join(self.words).split())

    def table(self, start):
        """The rows of the one table whose caption begins with `start`, its head first."""
        (found,) = [rows for caption, rows in self.tables.items() if caption.startswith(start)]
        return found
