"""What a page of the report is made of: sections of blocks, rendered by the template."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Missing:
    """What was not measured, and why."""

    what: str
    why: str
    kind: ClassVar[str] = "missing"


@dataclass(frozen=True)
class Facts:
    """Names and values, such as 'DFT calls' and '82'."""

    facts: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Chips:
    """A row of short coloured words; colours are CSS classes: good, bad, warn, plain."""

    chips: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "chips"


@dataclass(frozen=True)
class Table:
    """Rows of text under `columns`.

    text: how many of the first columns hold words; the others hold numbers, aligned right. notes: how many
    of the last columns hold words again.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: int = 1
    notes: int = 0
    kind: ClassVar[str] = "table"

    def is_text(self, column: int) -> bool:
        """Whether a column holds words."""
        return column < self.text or column >= len(self.columns) - self.notes


@dataclass(frozen=True)
class Figure:
    """One interactive plot: the traces and the layout of plotly.js, and a caption that says what is seen."""

    name: str
    title: str
    data: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    caption: str = ""
    height: int = 300
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Grid:
    """Figures or drawings side by side, as many as fit. legend: names and colours that they share."""

    items: Sequence[Any]
    legend: Sequence[tuple[str, str]] = ()
    caption: str = ""
    wide: bool = False
    kind: ClassVar[str] = "grid"


@dataclass(frozen=True)
class Drawing:
    """A structure that can be turned: atoms, bonds, edges of the cell, arrows; the page draws it."""

    name: str
    title: str
    content: dict[str, Any]
    caption: str = ""
    kind: ClassVar[str] = "drawing"


@dataclass(frozen=True)
class Listing:
    """Long text that opens on a click, and is printed open."""

    summary: str
    text: str
    kind: ClassVar[str] = "listing"


Block = Text | Missing | Facts | Chips | Table | Figure | Grid | Drawing | Listing


@dataclass(frozen=True)
class Section:
    """A part of the report; `name` is its anchor."""

    name: str
    title: str
    blocks: Sequence[Block]

    def all_blocks(self) -> Iterable[Block]:
        """Its blocks, those in grids too."""
        for block in self.blocks:
            yield block
            if isinstance(block, Grid):
                yield from block.items


def figures(sections: Sequence[Section]) -> dict[str, dict[str, Any]]:
    """What plotly.js draws, by the name of the figure."""
    return {
        block.name: {"data": block.data, "layout": block.layout}
        for section in sections
        for block in section.all_blocks()
        if isinstance(block, Figure)
    }


def drawings(sections: Sequence[Section]) -> dict[str, dict[str, Any]]:
    """The structures that the script of the page draws, by the name of the drawing."""
    return {
        block.name: block.content
        for section in sections
        for block in section.all_blocks()
        if isinstance(block, Drawing)
    }
