"""A user's mistakes: one sentence that names the key or the file and the cure, exit 2, never a traceback."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from pyacemaker.structures.store import Ledger
from pyacemaker.workflow.state import WorkflowState

CONFIG_COMMANDS = ("run", "validate")


@pytest.mark.parametrize("command", CONFIG_COMMANDS)
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "does not exist; write one with: pyacemaker template"),
        (b"", "foundation: this key is required"),
        (b"\xff\xd8\xff\xe0", "is not a text file"),
        (b"just words", "expected keys and values"),
        (b"a: [", "is not valid YAML"),
    ],
)
def test_files_that_are_no_config(cli, tmp_path, command, content, expected):
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    answer = cli(command, path)
    assert answer.code == 2
    assert str(path) in answer.complaint()
    assert expected in answer.err


@pytest.mark.parametrize("command", CONFIG_COMMANDS)
def test_a_directory_is_no_config(cli, tmp_path, command):
    answer = cli(command, tmp_path)
    assert answer.code == 2
    assert f"{tmp_path} is a directory; expected a config file" in answer.complaint()


@pytest.mark.parametrize("command", CONFIG_COMMANDS)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("seed: 7", "sead: 7"), "line 2: sead: unknown key; did you mean seed?"),
        (("epochs: 4", "epochs: many"), "line 29: finetune.epochs: "),
        (("n_pool: 60", "n_pool: -60"), "line 24: sample.n_pool: "),
        (("product: product.xyz", "product: p.xyz"), "line 14: sample.generators.0.product: the file"),
        (("n_train: 12", "n_train: 7"), "label.n_train = 7 is fewer than min_train = 8"),
        (
            ("n_train: 12", "n_train: 41"),
            "label.n_train + label.n_test = 61 structures are to be labelled, but",
        ),
        (("functions: 80", "cutoff: 500"), "line 38: base.cutoff: "),
        (("kind: inline", "kind: local\n  workers: 5000"), "execution.workers: Input should be less than"),
        (("kind: inline", "kind: slurm"), "execution.kind: unknown key; Allowed here: backend, pools"),
        (("md_temperatures: [600]", "md_temperatures: 300"), "expected a list, such as [300]; found 300"),
        (("temperatures: [200, 300]", "temperatures: []"), "expected a list of at least 1 item; found"),
        (("name: tiny", "name: -tiny"), "name: expected letters, digits and . _ - only, and"),
        (("foundation.model", "foundation.model\n  sha256: abc"), "expected 64 hexadecimal digits, as"),
        (("product: product.xyz", "product: 3"), "product: expected the name of a file; found 3"),
    ],
)
def test_bad_settings(cli, tiny, tmp_path, command, change, expected):
    answer = cli(command, tiny(change))
    assert answer.code == 2
    assert expected in answer.complaint()
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def foundation(tiny, kind):
    """A config whose foundation model is not one, and what the complaint says."""
    if kind == "missing":
        return tiny(("model: foundation.model", "model: nowhere.model")), "nowhere.model does not exist"
    if kind == "unknown name":
        config = tiny(("model: foundation.model", "model: mace-mp-1"))
        return config, "did you mean 'mace-mp-0'?"
    if kind == "wrong checksum":
        config = tiny(("model: foundation.model", f"model: foundation.model\n  sha256: {'a' * 64}"))
        return config, "expected aaaaaaaaaa"
    if kind == "directory":
        config = tiny(("model: foundation.model", "model: folder.model"))
        (config.parent / "folder.model").mkdir()
        return config, "is a directory"
    config = tiny()
    model = config.parent / "foundation.model"
    if kind == "text":
        model.write_text("not a model")
    else:
        model.write_bytes(model.read_bytes()[:200000])
    return config, "is not a MACE model"


@pytest.mark.parametrize("command", CONFIG_COMMANDS)
@pytest.mark.parametrize(
    "kind", ["missing", "unknown name", "wrong checksum", "directory", "text", "cut off"]
)
def test_foundations_that_are_no_models(cli, tiny, tmp_path, command, kind):
    config, expected = foundation(tiny, kind)
    answer = cli(*[command, config], *(["--run-dir", tmp_path / "run"] if command == "run" else []))
    assert answer.code == 2
    assert expected in answer.complaint()
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_published_model_on_a_machine_that_is_offline(cli, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    config = tiny(("model: foundation.model", "model: medium-mpa-0"))
    answer = cli("run", config, "--run-dir", tmp_path / "run")
    assert answer.code == 2
    assert "the foundation model 'medium-mpa-0' is not in MACE's cache" in answer.complaint()
    assert "this machine is offline" in answer.err
    assert "set model to the path of that file" in answer.err
    answer = cli("validate", config)  # it fetches nothing
    assert answer.code == 0
    assert "foundation medium-mpa-0 (published: the first run fetches it)" in answer.out


def edited(tiny, name, old, new):
    config = tiny()
    path = config.parent / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return config


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("reactant.xyz", "Cl ", "Xx ", "Xx"),
        ("reactant.xyz", "Cl ", "He ", "He"),
        ("reactant.xyz", "6\n", "7\n", "reactant.xyz"),
        ("product.xyz", "charge=-1", "charge=0", "charge"),
        ("product.xyz", "charge=-1", "charge=minus", "charge"),
    ],
)
@pytest.mark.parametrize("command", CONFIG_COMMANDS)
def test_bad_ends_of_a_reaction(cli, tiny, tmp_path, command, name, old, new, expected):
    answer = cli(command, edited(tiny, name, old, new))
    assert answer.code == 2
    assert re.match(r"Error: .*config\.yaml, line 1[1-4]: sample\.generators\.0", answer.complaint())
    assert expected in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


DFT = "kind: tblite\n  method: GFN1-xTB"


@pytest.mark.parametrize("command", CONFIG_COMMANDS)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((DFT, "kind: pyscf\n  xc: PBEO"), "xc 'PBEO' is not known to PySCF"),
        ((DFT, "kind: pyscf\n  basis: def3-SVPD"), "basis 'def3-SVPD' is not known to PySCF"),
        ((DFT, "kind: emt"), "holds Cl, F, but EMT covers only"),
        (("      n_path: 8", "      charge: 60\n      n_path: 8"), "does not fit -"),
        (("      n_path: 8", "      multiplicity: 2\n      n_path: 8"), "multiplicity 2 does not fit"),
    ],
)
def test_what_cannot_work_is_found_before_anything_runs(cli, tiny, tmp_path, command, change, expected):
    answer = cli(command, tiny(change))
    assert answer.code == 2
    assert expected in answer.complaint()
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", CONFIG_COMMANDS)
def test_an_element_that_the_foundation_does_not_know(cli, tiny, tmp_path, command):
    config = tiny()
    for name in ("reactant.xyz", "product.xyz"):
        path = config.parent / name
        path.write_text(path.read_text().replace("Cl ", "I "))
    answer = cli(*[command, config], *(["--run-dir", tmp_path / "run"] if command == "run" else []))
    assert answer.code == 2
    assert "sample.generators.0: the foundation model foundation.model" in answer.complaint()
    assert "does not cover I; it covers Br-C-Cl-F-H: take another model" in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_empty_end_of_a_reaction(cli, tiny, tmp_path):
    config = tiny()
    (config.parent / "reactant.xyz").write_text("")
    answer = cli("run", config, "--run-dir", tmp_path / "run")
    assert answer.code == 2
    assert "reactant.xyz holds no structures" in answer.complaint()


def test_a_pool_that_is_too_small_is_refused_before_any_label(cli, finished, run_copy, tiny):
    shutil.rmtree(run_copy / "02_label")
    shutil.rmtree(run_copy / "labels")
    (run_copy / "ledger.csv").unlink()
    config = tiny(("n_train: 12", "n_train: 980"), ("n_pool: 60", "n_pool: 1000"))
    answer = cli("run", config, "--run-dir", run_copy)
    assert answer.code == 2
    assert "structures but label.n_train + label.n_test = 1000 are to be labelled" in answer.complaint()
    assert len(Ledger(run_copy / "ledger.csv")) == 0


def test_filters_that_nothing_passes(cli, tiny, tmp_path):
    config = tiny(("label:", "label:\n  filters:\n    max_force: 1.0e-9"))
    answer = cli("run", config, "--run-dir", tmp_path / "run")
    assert answer.code == 2
    assert "no candidate is left of the" in answer.complaint()
    assert "label.filters" in answer.err


@pytest.fixture
def plugins(monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("oracle", "expected"), [("Unconverged", "60 cycles were not enough"), ("Buggy", "TypeError")]
)
def test_more_failures_than_allowed_end_the_run_with_1(cli, run_copy, tiny, oracle, expected):
    config = tiny(("kind: tblite", f"kind: failing_oracle:{oracle}"))
    answer = cli("run", config, "--run-dir", run_copy)
    assert answer.code == 1
    last = answer.complaint().splitlines()[-1]
    assert last.startswith("Error: ")
    assert "labels failed, more than limits.max_failed_fraction = 0.3 allows" in last
    assert expected in last
    state = WorkflowState.read(run_copy)
    assert state.steps["02_label"].status == "failed"
    assert not (run_copy / "02_label" / "manifest.json").exists()
    failed = [row for row in Ledger(run_copy / "ledger.csv").rows if row.outcome != "ok"]
    assert len(failed) >= 7  # more than 0.3 of 20


@pytest.mark.usefixtures("plugins")
def test_too_few_labels_left_after_failures(cli, run_copy, tiny):
    config = tiny(
        ("kind: tblite", "kind: failing_oracle:Unconverged"),
        ("max_failed_fraction: 0.3", "max_failed_fraction: 1.0"),
    )
    answer = cli("run", config, "--run-dir", run_copy)
    assert answer.code == 2
    assert "DFT labels for the test set succeeded; expected label.n_test = 20" in answer.complaint()
    assert "ledger.csv" in answer.err


def test_a_damaged_potential(cli, finished, tmp_path):
    text = (finished.directory / "output" / "potential.yace").read_text()
    potential = tmp_path / "potential.yace"
    for content in (text[: len(text) // 2], "", "elements: [C]", text.replace("elements", "elephants")):
        potential.write_text(content)
        answer = cli("evaluate", potential, finished.directory / "02_label" / "test.extxyz")
        assert answer.code == 2
        assert str(potential) in answer.complaint()
        assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nowhere.yace", "does not exist; expected a .yace or .model file"),
        ("folder.yace", "is a directory"),
        ("notes.txt", "has the suffix '.txt'; expected .yace (ACE) or .model"),
        ("broken.model", "is not a MACE model"),
    ],
)
def test_files_that_are_no_potential(cli, finished, tmp_path, name, expected):
    (tmp_path / "folder.yace").mkdir()
    for other in ("notes.txt", "broken.model"):
        (tmp_path / other).write_text("words")
    answer = cli("evaluate", tmp_path / name, finished.directory / "02_label" / "test.extxyz")
    assert answer.code == 2
    assert expected in answer.complaint()


def test_a_damaged_ledger_is_written_anew(cli, finished, run_copy):
    before = (run_copy / "ledger.csv").read_text()
    (run_copy / "ledger.csv").write_text("a,b\n1,2\n")
    assert cli("run", finished.config, "--run-dir", run_copy).code == 0
    assert (run_copy / "ledger.csv").read_text() == before
    assert (run_copy / "ledger.csv.damaged").read_text() == "a,b\n1,2\n"


def test_the_real_command_in_a_process_of_its_own(tiny, tmp_path):
    """The installed entry point: exit code 2 and one line for a mistake."""
    program = shutil.which("pyacemaker", path=os.path.dirname(sys.executable))
    assert program is not None
    done = subprocess.run(
        [program, "run", str(tiny(("seed: 7", "seed: seven")))], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "line 2: seed: " in done.stderr
    assert not (tmp_path / "runs").exists()
