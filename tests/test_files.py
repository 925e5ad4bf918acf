import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyacemaker.files import complete_lines, remove_unfinished, replacing, sha256_file, write_atomic


def test_the_sha256_of_a_known_text(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_is_written_whole_with_its_directories(tmp_path):
    path = tmp_path / "new" / "deep" / "note.txt"
    write_atomic(path, "Å\n")
    assert path.read_bytes() == "Å\n".encode()
    write_atomic(path, "again\n")
    assert path.read_text() == "again\n"
    assert list(path.parent.iterdir()) == [path]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "model.yace"
    write_atomic(path, "old")

    def fail() -> None:
        with replacing(path) as aside:
            aside.write_text("half")
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_forgetting_to_write_is_an_error_that_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.yace"
    write_atomic(path, "old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


def test_the_temporary_file_is_beside_hidden_and_of_the_same_kind(tmp_path):
    with replacing(tmp_path / "pool.tar.gz") as aside:
        assert aside.parent == tmp_path
        assert aside.name.startswith(".")
        assert aside.suffix == ".gz"
        aside.write_text("x")


def test_a_process_killed_while_it_writes_leaves_the_old_file(tmp_path):
    path = tmp_path / "state.json"
    write_atomic(path, "old")
    code = (
        "import os, signal, sys; from pathlib import Path; from pyacemaker.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as aside:\n"
        "    aside.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"


def test_a_reader_never_sees_a_part(tmp_path):
    path = tmp_path / "log"
    write_atomic(path, "a" * 10)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        write_atomic(path, "b" * 20)
        assert os.read(descriptor, 100) == b"a" * 10
    finally:
        os.close(descriptor)
    assert Path(path).read_text() == "b" * 20


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "labels" / "ab"
    folder.mkdir(parents=True)
    with replacing(folder / "key.json") as aside:
        left = aside.name
        aside.touch()
    (folder / left).touch()
    (folder / left.removesuffix(".json")).touch()
    kept = ["key.json", ".tmp", ".hidden.tmp", "notes.12.tmp", ".potential.yace"]
    for name in kept:
        (folder / name).touch()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(kept)


def test_lines_of_a_growing_file_come_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.txt"
    lines = complete_lines(path)
    assert next(lines) == []
    path.write_text("one\ntw")
    assert next(lines) == [b"one"]
    assert next(lines) == []
    with path.open("a") as handle:
        handle.write("o\nthree\n")
    assert next(lines) == [b"two", b"three"]
    assert next(complete_lines(path, offset=4)) == [b"two", b"three"]
