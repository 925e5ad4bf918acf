import dataclasses
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.errors import DataError
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.structures import store as store_module
from pyacemaker.structures.label_database import LabelDatabase
from pyacemaker.structures.result_files import ResultFiles
from pyacemaker.structures.store import LabelRecord, LabelStore, Ledger, LedgerRow

KEY = "ab" + 62 * "0"
OTHER = "cd" + 62 * "1"
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def record(key=KEY, **changes):
    given = {"structure_id": "s1", "engine": "e 1", "settings": {"kind": "x"}, "outcome": "ok"}
    labels = LabelRecord.label_fields(Labels(-1.5, np.array([[0.1, 0.2, 0.3]]), np.arange(6) / 3))
    return LabelRecord(key, **{**given, **labels, **changes})


def failure(key=KEY, **changes):
    nothing = {"outcome": "ConvergenceError", "energy": None, "forces": None, "stress": None}
    return record(key, **{**nothing, **changes})


def row(key=KEY, **changes):
    settled = LedgerRow(key, "s1", "md", "e 1", "cafe", "train", 0, "ok", True, 1.25, "2026-01-01T00:00:00")
    return dataclasses.replace(settled, **changes)


class TestLabelRecord:
    @settings(deadline=None)
    @given(FLOATS, st.lists(st.tuples(FLOATS, FLOATS, FLOATS), min_size=1), st.booleans())
    def test_every_bit_survives_the_file(self, energy, forces, periodic):
        stress = np.array(forces[0] * 2) if periodic else None
        labels = Labels(energy, np.array(forces), stress)
        read = LabelRecord.from_json(record(**LabelRecord.label_fields(labels)).to_json()).labels()
        assert np.array(read.energy).tobytes() == np.array(energy).tobytes()
        assert read.forces.tobytes() == labels.forces.tobytes()
        assert (read.stress is None) == (stress is None)
        if stress is not None:
            assert read.stress.tobytes() == stress.tobytes()

    def test_a_failure_has_no_label(self):
        with pytest.raises(ValueError, match="holds no label: ConvergenceError"):
            failure().labels()

    def test_nan_is_not_stored(self):
        with pytest.raises(ValueError, match="JSON"):
            record(energy=float("nan")).to_json()

    def test_final_unless_it_may_be_tried_again(self):
        assert record().is_final
        assert failure().is_final
        assert not failure(permanent=False).is_final


class TestLabelStore:
    def test_records_are_all_that_can_be_read(self, tmp_path):
        store = LabelStore(tmp_path)
        keys = ["cd" + 62 * "0", KEY]
        for key in keys:
            store.put(record(key))
        store.path("ab" + 62 * "1").write_text("{")
        assert [found.key for found in store.records()] == sorted(keys)
        assert [found.key for found in LabelStore(tmp_path).records()] == sorted(keys)

    def test_put_and_get(self, tmp_path):
        store = LabelStore(tmp_path)
        assert store.get(KEY) is None
        store.put(record())
        assert store.get(KEY) == record()
        assert store.path(KEY) == tmp_path / "results" / "ab" / f"{KEY}.json"
        assert [path.name for path in store.path(KEY).parent.iterdir()] == [f"{KEY}.json"]
        assert len(store) == 1

    def test_what_a_worker_wrote_is_found_at_once_and_after_a_kill(self, tmp_path):
        store = LabelStore(tmp_path)
        assert store.get(KEY) is None
        ResultFiles(tmp_path).put(record())
        assert store.get(KEY) == record()
        ResultFiles(tmp_path).put(record(OTHER))
        again = LabelStore(tmp_path)  # the first one never came to write
        assert len(again) == 2
        assert again.get(OTHER) == record(OTHER)

    def test_the_database_outlives_the_files_and_the_files_the_database(self, tmp_path):
        LabelStore(tmp_path).put(record())
        shutil.move(tmp_path / "results", tmp_path / "aside")
        assert LabelStore(tmp_path).get(KEY) == record()
        (tmp_path / "labels.sqlite").unlink()
        shutil.move(tmp_path / "aside", tmp_path / "results")
        assert LabelStore(tmp_path).get(KEY) == record()

    @pytest.mark.parametrize("damage", ["rubbish", "holes", "short"])
    def test_a_damaged_database_is_built_again_from_the_files(self, tmp_path, damage, caplog):
        keys = [f"{k:064x}" for k in range(40)]
        with_small_packs(tmp_path, keys)
        break_file(tmp_path / "labels.sqlite", damage)
        store = LabelStore(tmp_path)
        assert [found.key for found in store.records()] == keys
        assert all(store.get(key) == record(key) for key in keys)
        assert "is damaged" in caplog.text
        assert (tmp_path / "labels.sqlite.damaged").is_file()

    def test_a_damaged_database_without_files_is_an_error_that_names_the_cure(self, tmp_path):
        LabelStore(tmp_path).put(record())
        shutil.rmtree(tmp_path / "results")
        (tmp_path / "labels.sqlite").write_text("rubbish " * 100)
        for _ in range(2):
            with pytest.raises(DataError, match=r"labels\.sqlite is damaged .* restore it from a backup"):
                LabelStore(tmp_path).get(KEY)

    def test_a_record_that_rotted_in_the_database_is_read_from_its_file(self, tmp_path):
        LabelStore(tmp_path).put(record())
        with closing(sqlite3.connect(tmp_path / "labels.sqlite")) as connection:
            connection.execute("UPDATE labels SET record = replace(record, '-1.5', '-1.6')")
            connection.commit()
        store = LabelStore(tmp_path)
        assert store.get(KEY) == record()
        store.flush()
        shutil.rmtree(tmp_path / "results")
        assert LabelStore(tmp_path).get(KEY) == record()

    def test_many_files_are_packed(self, tmp_path):
        keys = [f"{k:064x}" for k in range(40)]
        with_small_packs(tmp_path, keys)
        assert len(list(tmp_path.glob("results/*/*.json"))) < 16
        assert len(list(tmp_path.glob("results/packed-*.jsonl.gz"))) >= 2
        assert all(LabelStore(tmp_path).get(key) == record(key) for key in keys)

    def test_what_may_be_tried_again_gives_way_and_a_label_stays(self, tmp_path):
        store = LabelStore(tmp_path)
        store.put(failure(permanent=False, outcome="OracleCrashError"))
        assert not LabelStore(tmp_path).get(KEY).is_final
        ResultFiles(tmp_path).put(record())
        assert store.get(KEY) == record()
        store.flush()
        store.put(record(energy=-9.0))
        assert LabelStore(tmp_path).get(KEY) == record()

    def test_looking_changes_nothing(self, tmp_path):
        assert len(LabelStore(tmp_path / "none", look_only=True)) == 0
        assert not (tmp_path / "none").exists()
        LabelStore(tmp_path).put(record())
        ResultFiles(tmp_path).put(record(OTHER))
        before = (tmp_path / "labels.sqlite").read_bytes()
        looked = LabelStore(tmp_path, look_only=True)
        assert {found.key for found in looked.records()} == {KEY, OTHER}
        assert (tmp_path / "labels.sqlite").read_bytes() == before

    def test_structures_come_back_with_labels_and_provenance(self, tmp_path):
        cell = AtomStructure(np.array([13]), np.zeros((1, 3)), 4 * np.eye(3), np.ones(3, bool), tag="eos")
        geometry = LabelRecord.geometry_of(cell.replace(weight=2.0, info={"strain": 0.02}))
        store = LabelStore(tmp_path)
        store.put(record(structure_id=cell.id, geometry=geometry, reason="active set", round=3))
        store.put(failure(OTHER, geometry=geometry))
        (found,) = store.structures()
        assert (found.id, found.tag, found.weight, found.source) == (cell.id, "eos", 2.0, "e 1")
        assert found.info == {"strain": 0.02, "reason": "active set", "round": 3}
        assert found.labels.stress.tobytes() == record().labels().stress.tobytes()


class TestSharing:
    def test_what_one_run_computed_another_borrows(self, tmp_path):
        first = LabelStore(tmp_path / "a", tmp_path / "pool")
        first.put(record())
        first.put(failure(OTHER))
        first.flush()
        second = LabelStore(tmp_path / "b", tmp_path / "pool")
        assert second.get(KEY) is None
        found = second.borrow(KEY, reason="test set", round_number=2, tag="eos")
        assert found == record(reused=True, reason="test set", round=2)
        assert second.borrow(OTHER, reason="", round_number=0, tag="").outcome == "ConvergenceError"
        second.flush()
        assert LabelStore(tmp_path / "b").get(KEY) == found

    def test_a_place_where_nothing_can_be_made_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match=r"pool.labels\.sqlite cannot be used .* check its path"):
            LabelStore(tmp_path / "a", tmp_path / "file" / "pool").get(KEY)

    def test_what_may_be_tried_again_is_not_shared(self, tmp_path):
        first = LabelStore(tmp_path / "a", tmp_path / "pool")
        first.put(failure(permanent=False))
        first.flush()
        second = LabelStore(tmp_path / "b", tmp_path / "pool")
        assert second.borrow(KEY, reason="", round_number=0, tag="") is None

    def test_a_run_tells_a_new_pool_what_it_knows(self, tmp_path):
        LabelStore(tmp_path / "a").put(record())
        LabelStore(tmp_path / "a", tmp_path / "pool").get(OTHER)
        second = LabelStore(tmp_path / "b", tmp_path / "pool")
        assert second.borrow(KEY, reason="", round_number=0, tag="") is not None

    def test_a_damaged_pool_is_an_error(self, tmp_path):
        (tmp_path / "pool").mkdir()
        (tmp_path / "pool" / "labels.sqlite").write_text("rubbish " * 100)
        with pytest.raises(DataError, match=r"is damaged .* move it away"):
            LabelStore(tmp_path / "a", tmp_path / "pool").get(KEY)

    def test_two_processes_fill_one_pool_at_once(self, tmp_path):
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); import test_store; "
            "test_store.fill(sys.argv[2], sys.argv[3], int(sys.argv[4]))"
        )
        writers = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    code,
                    str(Path(__file__).parent),
                    tmp_path / name,
                    tmp_path / "pool",
                    str(n),
                ]
            )
            for name, n in (("a", 0), ("b", 60))
        ]
        assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
        pool = LabelDatabase(tmp_path / "pool" / "labels.sqlite")
        assert pool.keys() == [f"{k:064x}" for k in range(180)]
        assert all(pool.get(key) == record(key) for key in (f"{k:064x}" for k in range(180)))


def fill(directory, pool, first):
    """120 records, each told to the pool at once."""
    store = LabelStore(Path(directory), Path(pool))
    for k in range(first, first + 120):
        store.put(record(f"{k:064x}"))
        store.flush()


def put_all(store, keys):
    for key in keys:
        store.put(record(key))


def with_small_packs(directory, keys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "PACK", 16)
        patch.setattr(store_module, "BATCH", 4)
        store = LabelStore(directory)
        put_all(store, keys)
        store.flush()


def break_file(path, damage):
    content = bytearray(path.read_bytes())
    if damage == "rubbish":
        content = b"rubbish " * 1000
    elif damage == "holes":
        content[5000:9000] = bytes(4000)
    else:
        content = content[: len(content) // 2]
    path.write_bytes(content)


class TestResultFiles:
    @settings(max_examples=30, deadline=None)
    @given(cut=st.integers(0, 400))
    def test_a_truncated_file_counts_as_absent(self, tmp_path_factory, cut):
        files = ResultFiles(tmp_path_factory.mktemp("files"))
        files.put(record())
        whole = files.path(KEY).read_bytes()
        files.path(KEY).write_bytes(whole[: min(cut, len(whole) - 2)])
        assert files.get(KEY) is None
        files.put(record())
        assert files.get(KEY) == record()

    @pytest.mark.parametrize("text", ["", "null", "[]", "{}", "\xff\x00", '{"key": 1}'])
    def test_rubbish_counts_as_absent(self, tmp_path, text):
        files = ResultFiles(tmp_path)
        files.put(record())
        files.path(KEY).write_text(text, encoding="latin-1")
        assert files.get(KEY) is None
        assert LabelStore(tmp_path).get(KEY) is None

    def test_a_record_of_another_key_counts_as_absent(self, tmp_path):
        files = ResultFiles(tmp_path)
        files.put(record())
        files.path(OTHER).parent.mkdir()
        files.path(KEY).rename(files.path(OTHER))
        assert files.get(OTHER) is None

    def test_a_pack_holds_what_the_files_held(self, tmp_path):
        files = ResultFiles(tmp_path)
        for key in (KEY, OTHER):
            files.put(record(key))
        files.path(OTHER).write_text("{")
        files.pack([KEY, OTHER, "ef" + 62 * "0"])
        assert list(files.packed()) == [record()]
        assert list(files.unpacked()) == [OTHER]  # what cannot be read is left alone

    def test_a_damaged_pack_gives_what_is_readable(self, tmp_path):
        files = ResultFiles(tmp_path)
        files.put(record())
        files.pack([KEY])
        (pack,) = tmp_path.glob("results/packed-*")
        pack.write_bytes(pack.read_bytes()[:40])
        assert list(files.packed()) == []


class TestLedger:
    def test_rows_come_back(self, tmp_path):
        ledger = Ledger(tmp_path / "ledger.csv")
        ledger.add(row())
        ledger.add(row("k2", tag='odd, "tag"', outcome="ConvergenceError", core_seconds=0.5, reused=True))
        read = Ledger(tmp_path / "ledger.csv")
        assert read.rows == ledger.rows
        assert KEY in read
        assert len(read) == 2

    def test_no_key_twice(self, tmp_path):
        ledger = Ledger(tmp_path / "ledger.csv")
        ledger.add(row())
        with pytest.raises(ValueError, match="already holds"):
            ledger.add(row())
        with pytest.raises(ValueError, match="already holds"):
            Ledger(tmp_path / "ledger.csv").add(row())
        assert len(Ledger(tmp_path / "ledger.csv")) == 1

    def test_what_crashed_may_be_entered_again(self, tmp_path):
        ledger = Ledger(tmp_path / "ledger.csv")
        ledger.add(row(outcome="OracleCrashError", permanent=False))
        assert KEY not in ledger
        ledger.add(row())
        assert KEY in ledger
        assert [r.outcome for r in ledger.rows] == ["OracleCrashError", "ok"]

    @settings(max_examples=30, deadline=None)
    @given(cut=st.integers(1, 60))
    def test_a_torn_last_line_is_dropped(self, tmp_path_factory, cut):
        path = tmp_path_factory.mktemp("ledger") / "ledger.csv"
        ledger = Ledger(path)
        ledger.add(row("k1"))
        ledger.add(row("k2"))
        path.write_bytes(path.read_bytes()[:-cut])
        again = Ledger(path)
        assert [r.key for r in again.rows] == ["k1"]
        again.add(row("k2"))
        assert [r.key for r in Ledger(path).rows] == ["k1", "k2"]

    def test_looking_at_a_ledger_leaves_it_to_its_writer(self, tmp_path):
        path = tmp_path / "ledger.csv"
        assert Ledger(path, look_only=True).totals().calls == 0
        assert not path.exists()
        Ledger(path).add(row("k1"))
        path.write_bytes(path.read_bytes() + b"k2,half")
        before = path.read_bytes()
        assert Ledger(path, look_only=True).totals().calls == 1
        assert path.read_bytes() == before

    def test_a_torn_header_is_written_again(self, tmp_path):
        path = tmp_path / "ledger.csv"
        path.write_text("key,struc")
        Ledger(path).add(row())
        assert len(Ledger(path)) == 1

    def test_another_file_is_not_overwritten(self, tmp_path):
        path = tmp_path / "ledger.csv"
        path.write_text("date,amount\n1,2\n")
        with pytest.raises(DataError, match="not a ledger"):
            Ledger(path)
        assert path.read_text() == "date,amount\n1,2\n"

    @pytest.mark.parametrize("line", ["1,2,3", "k,s,md,e,c,train,zero,ok,True,1,now,False", ",,,,,,,,,,,,"])
    def test_a_damaged_line_is_named(self, tmp_path, line):
        path = tmp_path / "ledger.csv"
        Ledger(path).add(row("k1"))
        with path.open("a") as handle:
            handle.write(line + "\n")
        with pytest.raises(DataError, match=r"ledger\.csv, line 3 is damaged"):
            Ledger(path)

    def test_a_message_cannot_break_a_line(self, tmp_path):
        ledger = Ledger(tmp_path / "ledger.csv")
        ledger.add(row(tag="two\nlines"))
        assert Ledger(tmp_path / "ledger.csv").rows[0].tag == "two lines"

    def test_totals(self, tmp_path):
        ledger = Ledger(tmp_path / "ledger.csv")
        ledger.add(row("k1", reason="test"))
        ledger.add(row("k2", outcome="ConvergenceError", core_seconds=2.0))
        ledger.add(row("k3", reused=True))
        totals = ledger.totals()
        assert (totals.calls, totals.failed, totals.reused, totals.core_seconds) == (2, 1, 1, 3.25)
        assert ledger.totals("test").calls == 1

    @pytest.mark.parametrize("damage", ["deleted", "emptied", "a line", "a torn end", "the head", "rows"])
    def test_a_lost_ledger_is_written_anew_from_the_store(self, tmp_path, damage):
        path = tmp_path / "ledger.csv"
        ledger = Ledger(path, LabelStore(tmp_path))
        for try_, outcome in enumerate(["OracleCrashError", "ok"]):
            ledger.add(row(outcome=outcome, permanent=try_ > 0, started=f"2026-01-0{try_ + 1}", round=2))
        ledger.add(row(OTHER, outcome="ConvergenceError", started="2026-01-03", reason="a, b"))
        rows, text = ledger.rows, path.read_text()
        ledger._store.flush()
        lines = text.splitlines(keepends=True)
        broken = {
            "emptied": "",
            "a line": text.replace("ConvergenceError,True,1.25", "ConvergenceError,1.25"),
            "a torn end": text[:-20],
            "the head": text.replace("key,structure", "kez,structure"),
            "rows": lines[0] + lines[2],
        }
        path.unlink() if damage == "deleted" else path.write_text(broken[damage])
        assert Ledger(path, LabelStore(tmp_path, look_only=True), look_only=True).rows == rows
        assert Ledger(path, LabelStore(tmp_path)).rows == rows
        assert path.read_text() == text

    def test_a_ledger_is_written_from_the_labels_alone(self, tmp_path):
        store = LabelStore(tmp_path)
        store.put(record(reason="active set", round=4, method="m", started="2026-01-01", core_seconds=2.5))
        store.put(failure(OTHER, reason="test set", started="2026-01-02"))
        first, second = Ledger(tmp_path / "ledger.csv", store).rows
        assert (first.key, first.reason, first.round, first.settings) == (KEY, "active set", 4, "m")
        assert (first.core_seconds, first.outcome, second.outcome) == (2.5, "ok", "ConvergenceError")

    def test_a_new_store_learns_the_rows_of_the_ledger(self, tmp_path):
        Ledger(tmp_path / "ledger.csv").add(row())
        Ledger(tmp_path / "ledger.csv", LabelStore(tmp_path))
        (tmp_path / "ledger.csv").unlink()
        assert Ledger(tmp_path / "ledger.csv", LabelStore(tmp_path)).rows == [row()]


class TestKills:
    """Whatever is cut short, nothing that was written is lost."""

    @pytest.mark.parametrize("moment", ["before the pack", "before the files go", "halfway"])
    def test_packing_can_be_cut_short(self, tmp_path, monkeypatch, moment):
        keys = [f"{k:064x}" for k in range(20)]
        monkeypatch.setattr(store_module, "PACK", 16)
        monkeypatch.setattr(store_module, "BATCH", 4)
        left = {"before the pack": 0, "before the files go": 1, "halfway": 8}[moment]
        unlink = Path.unlink

        def dying(path, missing_ok=False):
            nonlocal left
            if path.suffix == ".json" and not path.name.startswith("."):
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
            unlink(path, missing_ok=missing_ok)

        if moment == "before the pack":
            monkeypatch.setattr(ResultFiles, "pack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        else:
            monkeypatch.setattr(Path, "unlink", dying)
        store = LabelStore(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            put_all(store, keys)
        written = [
            key for key in keys if store.path(key).is_file() or LabelStore(tmp_path).get(key) is not None
        ]
        monkeypatch.undo()
        assert len(written) >= 16
        again = LabelStore(tmp_path)
        assert all(again.get(key) == record(key) for key in written)
        (tmp_path / "labels.sqlite").unlink()
        assert all(LabelStore(tmp_path).get(key) == record(key) for key in written)

    def test_a_transaction_can_be_cut_short(self, tmp_path):
        LabelStore(tmp_path).put(record())
        code = (
            "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
            "c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN IMMEDIATE'); "
            "rows = [(str(k), '', '', 'x' * 500) for k in range(99)]; "
            "c.executemany('INSERT INTO calls VALUES (?, ?, ?, ?)', rows); os._exit(1)"
        )
        subprocess.run([sys.executable, "-c", code, tmp_path / "labels.sqlite"], check=False)
        assert (tmp_path / "labels.sqlite-journal").is_file()
        looked = LabelStore(tmp_path, look_only=True)
        assert [found.key for found in looked.records()] == [KEY]
        assert LabelStore(tmp_path).get(KEY) == record()
        assert LabelStore(tmp_path).calls() == []
