"""What workers leave behind: one file per calculation, whole or absent, packed when they are many."""

import gzip
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyacemaker.files import replacing, write_atomic
from pyacemaker.structures.label_record import LabelRecord

UNREADABLE = (OSError, ValueError, TypeError, KeyError, EOFError)
"""What reading a damaged record raises."""


class ResultFiles:
    """`results/<first two digits>/<key>.json` below a directory, and the packs that gather them.

    A worker writes its file (aside, fsynced, renamed) before it answers, so that no finished calculation is
    lost, whatever is killed. A file that cannot be read as a record counts as absent. Many small files are a
    nuisance on the file systems of clusters: `pack` gathers them in `results/packed-<hash>.jsonl.gz`, one
    record per line, which is never changed again.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)

    def path(self, key: str) -> Path:
        """Where the file of `key` is or would be."""
        return self.directory / "results" / key[:2] / f"{key}.json"

    def put(self, record: LabelRecord) -> None:
        """Write `record`; on return it survives a crash."""
        write_atomic(self.path(record.key), record.to_json() + "\n")

    def begin(self, key: str, started: str) -> None:
        """Note in `<key>.begun` when a try began: all that is left of one that ends with its process."""
        path = self.path(key).with_suffix(".begun")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as handle:
            handle.write(started + "\n")

    def begun(self, key: str) -> list[str]:
        """When the tries of `key` began whose end nobody noted."""
        path = self.path(key).with_suffix(".begun")
        return path.read_text(encoding="utf-8").split() if path.is_file() else []

    def end(self, key: str) -> None:
        """The end of the tries of `key` is noted."""
        self.path(key).with_suffix(".begun").unlink(missing_ok=True)

    def get(self, key: str) -> LabelRecord | None:
        """The record in the file of `key`, None when there is no readable one."""
        try:
            record = LabelRecord.from_json(self.path(key).read_text(encoding="utf-8"))
        except UNREADABLE:
            return None
        return record if record.key == key else None

    def unpacked(self) -> Iterator[str]:
        """The keys of all files that are not packed, sorted within each folder."""
        for folder in sorted(self.directory.glob("results/[0-9a-f][0-9a-f]")):
            yield from sorted(path.stem for path in folder.glob("[0-9a-f]*.json"))

    def packed(self) -> Iterator[LabelRecord]:
        """The readable records of the packs."""
        for path in sorted(self.directory.glob("results/packed-*.jsonl.gz")):
            yield from _records(path)

    def pack(self, keys: Iterable[str]) -> None:
        """Gather the files of `keys` in one pack, and remove them once it is safe on disk.

        Call it only for calculations that no worker is running.
        """
        chosen = [key for key in sorted(set(keys)) if self.path(key).is_file()]
        if not chosen:
            return
        name = hashlib.sha256("".join(chosen).encode()).hexdigest()[:16]
        found = []
        target = self.directory / "results" / f"packed-{name}.jsonl.gz"
        with replacing(target) as aside, gzip.GzipFile(aside, "wb", compresslevel=6, mtime=0) as pack:
            for key in chosen:
                record = self.get(key)
                if record is not None:
                    pack.write((record.to_json() + "\n").encode())
                    found.append(key)
        for key in found:
            self.path(key).unlink(missing_ok=True)


def _records(path: Path) -> Iterator[LabelRecord]:
    """The readable records of one pack; those behind a damaged place are not."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                try:
                    yield LabelRecord.from_json(line)
                except UNREADABLE:
                    continue
    except UNREADABLE:
        return
