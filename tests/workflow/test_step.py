"""Seeds, keys and manifests of steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_steps import DOUBLE, DRAW, small_config

from pyacemaker.files import sha256_file
from pyacemaker.structures.store import LabelStore, Ledger
from pyacemaker.workflow.step import Manifest, StepContext, hash_outputs, step_key, step_seed
from pyacemaker.workflow.steps import STEPS


@given(st.integers(0, 2**32 - 1))
def test_seeds_fit_every_generator_and_differ_between_steps(seed):
    seeds = [step_seed(seed, step.name) for step in STEPS]
    assert all(0 <= found < 2**32 for found in seeds)
    assert len(set(seeds)) == len(seeds)
    assert seeds == [step_seed(seed, step.name) for step in STEPS]


def test_the_generator_of_a_context_starts_afresh_each_time(tmp_path):
    context = StepContext(
        small_config(tmp_path), tmp_path, {}, 5, LabelStore(tmp_path), Ledger(tmp_path / "ledger.csv")
    )
    assert (
        context.rng.integers(10**9) == context.rng.integers(10**9) == np.random.default_rng(5).integers(10**9)
    )


def test_the_key_follows_settings_seed_inputs_and_versions(tmp_path):
    config = small_config(tmp_path)
    inputs = {"01_draw": Manifest("k", {"numbers.json": "0" * 64})}
    key = step_key(DOUBLE, config, inputs, ["numpy 2"])
    assert key == step_key(DOUBLE, config, inputs, ["numpy 2"])
    others = {
        step_key(DOUBLE, small_config(tmp_path, base={"functions": 9}), inputs, ["numpy 2"]),
        step_key(DOUBLE, small_config(tmp_path, seed=2), inputs, ["numpy 2"]),
        step_key(DOUBLE, config, {"01_draw": Manifest("k", {"numbers.json": "1" * 64})}, ["numpy 2"]),
        step_key(DOUBLE, config, inputs, ["numpy 3"]),
        step_key(DRAW, config, {}, ["numpy 2"]),
    }
    assert key not in others
    assert len(others) == 5


def test_the_key_does_not_follow_what_the_step_does_not_use(tmp_path):
    config = small_config(tmp_path)
    other = small_config(tmp_path, name="other", execution={"kind": "inline"}, delta={"dft_emphasis": 2})
    assert step_key(DOUBLE, config, {}, []) == step_key(DOUBLE, other, {}, [])


def test_the_key_of_inputs_is_their_content_not_their_history(tmp_path):
    config = small_config(tmp_path)
    keys = {step_key(DOUBLE, config, {"01_draw": Manifest(k, {"numbers.json": "0"})}, []) for k in "ab"}
    assert len(keys) == 1


def test_a_manifest_vouches_for_every_output(tmp_path):
    (tmp_path / "numbers.json").write_text("[1]")
    manifest = Manifest("key", hash_outputs(DRAW, tmp_path))
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    assert manifest.outputs == {"numbers.json": sha256_file(tmp_path / "numbers.json")}
    assert manifest.matches(tmp_path)
    (tmp_path / "numbers.json").write_text("[2]")
    assert not manifest.matches(tmp_path)
    (tmp_path / "numbers.json").unlink()
    assert not manifest.matches(tmp_path)
    with pytest.raises(FileNotFoundError):
        hash_outputs(DRAW, tmp_path)


def test_the_steps_need_only_what_comes_before():
    names = [step.name for step in STEPS]
    assert [name[:2] for name in names] == ["01", "02", "03", "04", "05", "06", "07", "08"]
    for position, step in enumerate(STEPS):
        assert set(step.needs) <= set(names[:position])
        assert step.title
        assert "pyacemaker" in step.versions
        assert len(step.outputs) == len(set(step.outputs)) > 0
