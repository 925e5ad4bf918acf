"""How long-running work reports where it stands."""

from typing import Protocol


class Progress(Protocol):
    """Receives the state of a piece of work; the command line draws a bar from it."""

    def __call__(self, task: str, done: int, total: int) -> None:
        """`task` has finished `done` of `total` items."""


def silent(task: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""
