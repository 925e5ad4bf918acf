import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyacemaker.errors import DataError
from pyacemaker.structures import Labels
from pyacemaker.structures.store import LabelRecord, LabelStore, Ledger, LedgerRow

KEY = "ab" + 62 * "0"
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def record(key=KEY, **changes):
    given = {"structure_id": "s1", "engine": "e 1", "settings": {"kind": "x"}, "outcome": "ok"}
    labels = LabelRecord.label_fields(Labels(-1.5, np.array([[0.1, 0.2, 0.3]]), np.arange(6) / 3))
    return LabelRecord(key, **{**given, **labels, **changes})


def failure(key=KEY, **changes):
    return record(key, outcome="ConvergenceError", energy=None, forces=None, stress=None, **changes)


def row(key=KEY, **changes):
    settled = LedgerRow(key, "s1", "md", "e 1", "cafe", "train", 0, "ok", True, 1.25, "2026-01-01T00:00:00")
    return dataclasses.replace(settled, **changes)


class TestLabelRecord:
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

    def test_put_and_get(self, tmp_path):
        store = LabelStore(tmp_path)
        assert store.get(KEY) is None
        store.put(record())
        assert store.get(KEY) == record()
        assert store.path(KEY) == tmp_path / "results" / "ab" / f"{KEY}.json"
        assert [path.name for path in store.path(KEY).parent.iterdir()] == [f"{KEY}.json"]
        assert len(store) == 1

    @given(cut=st.integers(0, 400))
    def test_a_truncated_file_counts_as_absent(self, tmp_path_factory, cut):
        store = LabelStore(tmp_path_factory.mktemp("store"))
        store.put(record())
        whole = store.path(KEY).read_bytes()
        store.path(KEY).write_bytes(whole[: min(cut, len(whole) - 2)])
        assert store.get(KEY) is None
        store.put(record())
        assert store.get(KEY) == record()

    @pytest.mark.parametrize("text", ["", "null", "[]", "{}", "\xff\x00", '{"key": 1}'])
    def test_rubbish_counts_as_absent(self, tmp_path, text):
        store = LabelStore(tmp_path)
        store.put(record())
        store.path(KEY).write_text(text, encoding="latin-1")
        assert store.get(KEY) is None

    def test_a_record_of_another_key_counts_as_absent(self, tmp_path):
        store = LabelStore(tmp_path)
        store.put(record())
        store.path(KEY).rename(store.path("ab" + 62 * "1"))
        assert store.get("ab" + 62 * "1") is None


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
        assert (totals.calls, totals.failed, totals.reused, totals.core_seconds) == (3, 1, 1, 4.5)
        assert ledger.totals("test").calls == 1
