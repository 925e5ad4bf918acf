"""The fenced code blocks of the README, of CONTRIBUTING and of docs/."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?"
    r"^(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A block, the page and line where it stands, and why it is not run, if it isn't."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def all_blocks() -> tuple[Block, ...]:
    """Every block of every page."""
    return tuple(block for page in PAGES for block in _blocks_of(page))


def _blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start("fence")) + 1
        language = found["language"].strip()
        name = str(page.relative_to(ROOT))
        yield Block(name, line, language, dedent(found["text"]), found["reason"])


def blocks_in(language: str) -> list[Block]:
    """Those that are to be run."""
    return [block for block in all_blocks() if block.language == language and block.reason is None]


def shell_commands(text: str) -> list[list[str]]:
    """The commands of a shell block as words, without comments, assignments and redirections."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&", line):
            words = shlex.split(command, comments=True)
            if ">" in words:
                words = words[: words.index(">")]
            if words:
                found.append(words)
    return found
