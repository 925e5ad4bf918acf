"""One sentence per problem: the file, the line, the key, what is wrong, the cure."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from pyacemaker.base import InputFile, Spec
from pyacemaker.errors import ConfigError
from pyacemaker.located_yaml import LocatedYaml, load_settings


class Hammer(Spec):
    kind: Literal["hammer"] = "hammer"
    weight: Annotated[float, Field(gt=0)] = 1.0


class Saw(Spec):
    kind: Literal["saw"] = "saw"
    teeth: Annotated[int, Field(ge=1)]


class Workshop(Spec):
    tool: Annotated[Hammer | Saw, Field(discriminator="kind")] = Hammer()
    shelf: tuple[Hammer, ...] = ()
    plan: InputFile | None = None


def problem(tmp_path: Path, text: str, model: type[Spec] = Workshop) -> str:
    path = tmp_path / "workshop.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, model)
    return str(caught.value)


def test_a_good_file_gives_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "workshop.yaml"
    path.write_text("tool:\n  kind: saw\n  teeth: 3\nshelf:\n- weight: 2\n")
    assert load_settings(path, Workshop) == Workshop(tool=Saw(teeth=3), shelf=(Hammer(weight=2.0),))


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "workshop.yaml"
    path.write_text("# nothing\n")
    assert load_settings(path, Workshop) == Workshop()


def test_a_misspelt_key_is_named_with_its_line_and_the_right_one(tmp_path: Path) -> None:
    message = problem(tmp_path, "tool:\n  kind: hammer\n  wieght: 2\n")
    assert "workshop.yaml, line 3: tool.wieght:" in message
    assert "did you mean weight?" in message


def test_a_wrong_value_inside_a_list_is_located(tmp_path: Path) -> None:
    message = problem(tmp_path, "shelf:\n- weight: 1\n- weight: -1\n")
    assert "line 3: shelf.1.weight: Input should be greater than 0; found -1" in message


def test_a_wrong_type_shows_what_was_found(tmp_path: Path) -> None:
    message = problem(tmp_path, "tool:\n  kind: saw\n  teeth: many\n")
    assert "line 3: tool.teeth:" in message
    assert "'many'" in message


def test_an_unknown_kind_lists_the_known_ones(tmp_path: Path) -> None:
    message = problem(tmp_path, "tool:\n  kind: drill\n")
    assert "'hammer', 'saw'" in message


def test_a_missing_key_is_said_to_be_required(tmp_path: Path) -> None:
    assert "tool.teeth: this key is required" in problem(tmp_path, "tool:\n  kind: saw\n")


def test_all_problems_are_reported(tmp_path: Path) -> None:
    assert len(problem(tmp_path, "tool:\n  kind: saw\n  teeth: 0\nshelves: []\n").splitlines()) == 2


def test_a_file_that_a_setting_names_is_looked_for_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "plan.txt").write_text("build")
    path = tmp_path / "workshop.yaml"
    path.write_text("plan: plan.txt\n")
    assert load_settings(path, Workshop).plan == tmp_path / "plan.txt"
    assert "other.txt does not exist" in problem(tmp_path, "plan: other.txt\n")
    assert "is a directory" in problem(tmp_path, "plan: .\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- 1\n- 2\n", "expected keys and values"),
        ("a: [1\n", "not valid YAML"),
        ("tool: {}\ntool: {}\n", "line 2: tool: this key stands here twice"),
    ],
)
def test_files_that_are_no_settings(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problem(tmp_path, text)


def test_missing_binary_and_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        LocatedYaml.read(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a directory"):
        LocatedYaml.read(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="not a text file"):
        LocatedYaml.read(tmp_path / "binary.yaml")


def test_keys_of_others_can_be_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "workshop.yaml"
    path.write_text("tool:\n  kind: saw\n  teeth: 3\nsomething: else\n")
    assert load_settings(path, Workshop, keys=("tool",)).tool == Saw(teeth=3)


class Bench(Spec):
    tool: Hammer | Literal["auto", "none"] = "auto"
    colour: Literal["red", "blue"] = "red"


def test_a_section_in_the_place_of_a_word_is_told_by_its_own_keys(tmp_path: Path) -> None:
    message = problem(tmp_path, "tool:\n  wieght: 2\n", Bench)
    assert "line 2: tool.wieght: unknown key; did you mean weight?" in message
    assert len(message.splitlines()) == 1
    assert "line 1: colour: " in problem(tmp_path, "colour:\n  red: 1\n", Bench)


class Ramp(Spec):
    temperatures: tuple[float | tuple[float, float], ...]
    """K; a pair is a ramp."""


def test_a_value_that_is_neither_a_number_nor_a_list_is_told_once(tmp_path):
    path = tmp_path / "ramp.yaml"
    path.write_text("temperatures: [300, 600 K]\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, Ramp)
    (line,) = str(caught.value).splitlines()
    assert line.endswith("found '600 K': write the number alone, such as 600 (temperatures: K)")
    path.write_text("temperatures: 300\n")
    with pytest.raises(ConfigError, match=r"expected a list, such as \[300\]; found 300"):
        load_settings(path, Ramp)
