"""One scratch directory per calculation: removed, kept when it failed, or kept always."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

Keep = Literal["never", "failed", "always"]
"""Which scratch directories stay."""

PREFIX = "pyacemaker-"
_IN_USE = "in-use"


@contextmanager
def scratch_directory(root: Path | None, name: str, keep: Keep = "never") -> Iterator[Path]:
    """Yield a new directory `pyacemaker-NAME-…` below `root` (None: the system's temporary directory).

    On leaving it is removed, unless `keep` says that it stays. Directories that killed calculations left
    below the same root are removed first: the lock of their `in-use` file is free.
    """
    root = Path(tempfile.gettempdir()) if root is None else root
    root.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-", dir=root))
    lock = _lock(directory)
    failed = True
    try:
        yield directory
        failed = False
    finally:
        stays = keep == "always" or (keep == "failed" and failed)
        if stays:
            (directory / _IN_USE).unlink(missing_ok=True)
        else:
            shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _lock(directory: Path) -> int:
    """The descriptor of a locked file that carries its name only once it is locked."""
    aside = directory / f".{_IN_USE}"
    descriptor = os.open(aside, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    aside.rename(directory / _IN_USE)
    return descriptor


def _remove_abandoned(root: Path) -> None:
    for in_use in root.glob(f"{PREFIX}*/{_IN_USE}"):
        try:
            descriptor = os.open(in_use, os.O_RDWR)
        except OSError:  # somebody else's, or just removed
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(in_use.parent, ignore_errors=True)
        except OSError:  # still in use
            pass
        finally:
            os.close(descriptor)
