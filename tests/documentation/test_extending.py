"""The strategies on the page about extending pass the contracts that it shows."""

import os
import re
import subprocess
import sys

import yaml
from fenced_blocks import ROOT, all_blocks

PAGE = "docs/extending.md"


def files_of_the_page() -> dict[str, str]:
    """Each Python block by the last file name that stands between backticks above it."""
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    lines = text.splitlines()
    files = {}
    for block in all_blocks():
        if block.page == PAGE and block.language == "python":
            above = "\n".join(lines[: block.line - 1])
            files[re.findall(r"`([\w/]+\.py)`", above)[-1]] = block.text
    return files


def test_the_examples_pass_their_contracts(tmp_path):
    files = files_of_the_page()
    assert set(files) == {
        "my_lab/oracles.py",
        "test_oracles.py",
        "my_lab/selectors.py",
        "test_selectors.py",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    settings = next(block.text for block in all_blocks() if block.page == PAGE and block.language == "yaml")
    (tmp_path / "config.yaml").write_text(settings, encoding="utf-8")
    (tmp_path / "test_config.py").write_text(
        "from pathlib import Path\n"
        "from pyacemaker.config import load_labelling\n"
        "def test_the_config_names_it():\n"
        "    assert load_labelling(Path('config.yaml')).dft.width == 1.7\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir=."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 16
    assert yaml.safe_load(settings)["dft"]["kind"] == "my_lab.oracles:MorseOracle"
