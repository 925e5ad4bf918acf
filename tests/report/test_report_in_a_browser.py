"""The report in headless Chromium, offline: no error, every figure drawn, light, dark and on paper."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from html_page import HtmlPage

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"),
]
DARK = "--blink-settings=preferredColorScheme=0"


def browse(path, profile, *options):
    """What Chromium answers to the file, in a profile of its own, without a network."""
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"),
        *(f"--user-data-dir={profile}", "--virtual-time-budget=60000", "--enable-logging=stderr", "--v=0"),
        *(*options, path.as_uri()),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)


@pytest.fixture(scope="module")
def report(finished):
    return finished.directory / "output" / "report.html"


@pytest.fixture(scope="module")
def answer(report, tmp_path_factory):
    return browse(report, tmp_path_factory.mktemp("profile"), "--dump-dom", "--window-size=1280,2000")


def test_the_console_stays_empty(answer):
    assert [line for line in answer.stderr.splitlines() if "CONSOLE" in line] == []


def test_every_figure_and_every_structure_is_drawn(answer, report):
    page = HtmlPage(report.read_text(encoding="utf-8"))
    assert 'data-ready="yes"' in answer.stdout
    shown = {
        name: part
        for name, part in re.findall(r'data-figure="([^"]+)"(.*?)</figure>', answer.stdout, re.DOTALL)
    }
    assert shown.keys() == page.figures.keys()
    for name, part in shown.items():
        assert 'class="main-svg"' in part, name
        assert re.search(r'class="(point|bars|js-line|points)', part), name
    for name, content in page.drawings.items():
        part = answer.stdout.split(f'data-drawing="{name}"')[1].split("</svg>")[0]
        assert part.count('class="atom"') == len(content["symbols"])
        assert part.count('class="bond"') == len(content["bonds"])


def test_nothing_is_loaded_from_elsewhere(answer):
    """After the scripts have run too."""
    loaded = re.findall(
        r'<(?:script|link|img|iframe|image|use)[^>]*(?:src|href)="(?!data:|#)([^"]*)"', answer.stdout
    )
    assert loaded == []


def corner(path):
    """The mean brightness of the picture's lower right corner, 0 to 1."""
    from PIL import Image

    with Image.open(path) as picture:
        return float(np.asarray(picture.convert("L"))[-40:, -40:].mean()) / 255.0


def test_it_follows_the_systems_light_and_dark(report, tmp_path):
    light, dark = tmp_path / "light.png", tmp_path / "dark.png"
    browse(report, tmp_path / "a", f"--screenshot={light}", "--window-size=1000,800")
    browse(report, tmp_path / "b", f"--screenshot={dark}", "--window-size=1000,800", DARK)
    assert corner(light) > 0.9
    assert corner(dark) < 0.2


def test_it_prints(report, tmp_path):
    browse(report, tmp_path / "a", f"--print-to-pdf={tmp_path / 'report.pdf'}")
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert 5 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 60
