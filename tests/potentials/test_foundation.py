"""The foundation model by name and by file: what is found, downloaded, refused, and never executed."""

import hashlib
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from pyacemaker.errors import FoundationModelError, UnsupportedElementError
from pyacemaker.potentials.foundation import PUBLISHED_MODELS, FoundationSettings
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.potentials.mace_elements import read_elements
from pyacemaker.potentials.mace_model import load_model, quiet_mace

DATA = Path(__file__).parents[1] / "data"
MODEL = DATA / "cual_foundation.model"
SHA256 = hashlib.sha256(MODEL.read_bytes()).hexdigest()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty model cache, and a proxy at a port where nothing listens; the cache's directory."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mace"


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.marker,))


def test_the_known_names_are_those_of_mace() -> None:
    with quiet_mace():
        from mace.calculators.foundations_models import mace_mp_names
    assert set(PUBLISHED_MODELS) == {name for name in mace_mp_names if name is not None}


def test_a_path_counts_from_the_base_directory() -> None:
    assert FoundationSettings(model=MODEL.name).resolve(DATA) == MODEL
    assert FoundationSettings(model=str(MODEL)).resolve(Path("/")) == MODEL
    context = {"base_dir": DATA}
    settings = FoundationSettings.model_validate({"model": f"../data/{MODEL.name}"}, context=context)
    assert settings.resolve().samefile(MODEL)


def test_a_file_counts_by_its_content(tmp_path: Path) -> None:
    copy = tmp_path / "copy.model"
    shutil.copyfile(MODEL, copy)
    one, two = FoundationSettings(model=str(MODEL)), FoundationSettings(model=str(copy))
    assert one.fingerprint() == two.fingerprint()
    shutil.copyfile(DATA / "sn2_foundation.model", copy)
    assert one.fingerprint() != two.fingerprint()


def test_load_passes_the_settings_on() -> None:
    settings = FoundationSettings(
        model=str(MODEL), sha256=SHA256.upper(), dtype="float32", max_atoms_per_batch=7
    )
    potential = settings.load()
    assert (potential.dtype, potential.max_atoms_per_batch, potential.sha256) == ("float32", 7, SHA256)


def test_a_wrong_checksum_names_both(tmp_path: Path) -> None:
    expected = "0" * 64
    with pytest.raises(FoundationModelError, match=rf"{SHA256}.*expected {expected}"):
        FoundationSettings(model=str(MODEL), sha256=expected).resolve(tmp_path)


@pytest.mark.parametrize("name", ["mace-mp-0", "MACE-MP-0", "medium", "small-0b2"])
def test_offline_says_what_to_do(name: str, offline: Path) -> None:
    with pytest.raises(FoundationModelError, match=r"offline.*download https://\S+\.model .*path") as caught:
        FoundationSettings(model=name).resolve(Path())
    assert ("2023-12-03-mace-128-L1" in str(caught.value)) == (name != "small-0b2")
    assert not list(offline.rglob("*.model")) if offline.exists() else True


def test_a_cached_model_needs_no_network(offline: Path) -> None:
    offline.mkdir(parents=True)
    cached = offline / "20231203mace128L1_epoch199model"
    shutil.copyfile(MODEL, cached)
    assert FoundationSettings(model="mace-mp-0", sha256=SHA256).resolve(Path()) == cached
    with pytest.raises(FoundationModelError, match="expected"):
        FoundationSettings(model="medium", sha256="1" * 64).resolve(Path())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mace-mp-o", "did you mean 'mace-mp-0'"),
        ("medium-mpa", "did you mean 'medium-mpa-0'"),
        ("quantum-oracle-9000", "neither a file .* nor a published model; known names"),
        ("models/missing.model", "models/missing.model does not exist; correct the path"),
        ("missing.pt", "missing.pt does not exist"),
        (".", "is a directory"),
    ],
)
def test_what_is_not_there(model: str, message: str, tmp_path: Path, offline: Path) -> None:
    with pytest.raises(FoundationModelError, match=message):
        FoundationSettings(model=model).resolve(tmp_path)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "x.model"
    contents = {
        "text": b"not a model\n" * 50,
        "empty": b"",
        "pickle": pickle.dumps({"a": 1}),
        "truncated": MODEL.read_bytes()[:20000],
    }
    for content in contents.values():
        path.write_bytes(content)
        with pytest.raises(FoundationModelError, match=r"x\.model is not a MACE model"):
            FoundationSettings(model=str(path)).resolve(tmp_path)


def test_torch_files_that_are_no_whole_models(tmp_path: Path) -> None:
    path = tmp_path / "x.model"
    for content in (load_model(MODEL).state_dict(), torch.nn.Linear(2, 2), [1, 2]):
        torch.save(content, path)
        with pytest.raises(FoundationModelError, match="not a whole MACE model"):
            FoundationSettings(model=str(path)).resolve(tmp_path)


def test_a_part_of_a_model_is_refused_when_loaded(tmp_path: Path) -> None:
    path = tmp_path / "x.model"
    with quiet_mace():
        torch.save(["mace", load_model(MODEL)], path)
    with pytest.raises(FoundationModelError, match="holds a list without atomic_numbers"):
        FoundationSettings(model=str(path)).load()


def test_a_strange_pickle_is_never_executed(tmp_path: Path) -> None:
    marker, path = tmp_path / "executed", tmp_path / "x.model"
    for dump in (lambda trap: torch.save(trap, path), lambda trap: path.write_bytes(pickle.dumps(trap))):
        dump(Trap(marker))
        for sha256 in (None, "2" * 64):
            with pytest.raises(FoundationModelError):
                FoundationSettings(model=str(path), sha256=sha256).load(tmp_path)
    assert not marker.exists()


def test_a_changed_model_is_not_executed(tmp_path: Path) -> None:
    """A file that names MACE's classes is loaded only when its checksum holds."""
    marker, path = tmp_path / "executed", tmp_path / "x.model"
    with quiet_mace():
        torch.save([load_model(MODEL), Trap(marker)], path)
    with pytest.raises(FoundationModelError, match="expected"):
        FoundationSettings(model=str(path), sha256="3" * 64).load(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["cual_foundation.model", "sn2_foundation.model"])
def test_the_elements_of_a_file_are_those_of_the_model(name: str) -> None:
    assert set(read_elements(DATA / name)) == set(MacePotential(DATA / name).elements)


def test_reading_the_elements_executes_nothing(tmp_path: Path) -> None:
    marker, path = tmp_path / "executed", tmp_path / "x.model"
    with quiet_mace():
        torch.save([load_model(MODEL), Trap(marker)], path)
    with pytest.raises(FoundationModelError, match="does not say which elements"):
        read_elements(path)
    model = load_model(MODEL)
    model.trap = Trap(marker)
    with quiet_mace():
        torch.save(model, path)
    assert set(read_elements(path)) == {"Al", "Cu"}
    assert not marker.exists()


def test_what_is_wrong_is_found_before_anything_is_loaded(tmp_path: Path) -> None:
    settings = FoundationSettings(model=str(MODEL), sha256=SHA256)
    settings.check(["Cu"])
    with pytest.raises(
        UnsupportedElementError, match=r"does not cover Ni, Zn; it covers Al-Cu: take another"
    ):
        settings.check(["Zn", "Cu", "Ni"])
    with pytest.raises(FoundationModelError, match="did you mean 'mace-mp-0'"):
        FoundationSettings(model="mace-mp-o").check()
    with pytest.raises(FoundationModelError, match="does not exist"):
        FoundationSettings(model=str(tmp_path / "no.model")).check()
    FoundationSettings(model="MACE-MP-0").check(["Cu"])  # known when it has been downloaded


def test_a_run_with_foreign_elements_ends_before_its_first_step(tiny, tmp_path, cli) -> None:
    config = tiny()
    shutil.copyfile(MODEL, tmp_path / "foundation.model")
    for command in (("validate", config), ("run", config, "--run-dir", tmp_path / "run")):
        answer = cli(*command)
        assert answer.code == 2
        assert "does not cover C, Cl, F, H" in answer.complaint().replace("\n", " ")
    assert not (tmp_path / "run").exists()
