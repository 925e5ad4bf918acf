"""Files that are either whole or absent: checksums, and writing aside, fsync, rename."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ASIDE = re.compile(r"\..*\.\d+\.tmp(\..*)?")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it onto `path`.

    A reader sees the old file or the new one, never a part. On an exception the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix survives, because writers choose their format by it; _ASIDE knows these names
    aside = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield aside
        with aside.open("rb+") as handle:
            os.fsync(handle.fileno())
        aside.replace(path)
        _sync_directory(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_atomic(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def remove_unfinished(directory: Path) -> None:
    """Remove what `replacing` left below `directory` when its process was killed.

    Call it only where no other process writes.
    """
    for path in directory.rglob(".*.tmp*"):
        if _ASIDE.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` (anything JSON can hold) to `path` atomically, indented."""
    write_atomic(path, json.dumps(content, indent=2) + "\n")


def complete_lines(path: Path, offset: int = 0) -> Iterator[list[bytes]]:
    """At each step, the lines from byte `offset` on that a growing file has gained since the last one.

    A line counts once its end is there; before the file is, there are none.
    """
    while True:
        content = b""
        if path.is_file():
            with path.open("rb") as handle:
                handle.seek(offset)
                content = handle.read()
        complete = content[: content.rfind(b"\n") + 1]
        offset += len(complete)
        yield complete.splitlines()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
