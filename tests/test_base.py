import importlib
import sys
from typing import Annotated, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from pyacemaker.base import InputFile, Spec, fingerprint, plugin


class Shape(Spec):
    """A strategy family for these tests; `plugin` makes it one."""


class Square(Shape):
    kind: Literal["square"] = "square"
    side: float = 1.0


class Circle(Shape):
    kind: Literal["circle"] = "circle"
    radius: float = 1.0


AnyShape = Annotated[Annotated[Square | Circle, Field(discriminator="kind")], plugin(Shape)]


class Drawing(Spec):
    shapes: tuple[AnyShape, ...] = ()


class Reader(Spec):
    file: InputFile


MY_LAB = """
from pyacemaker.base import Spec
from test_base import Shape

number = 3

class Star(Shape):
    points: int = 5

class Unrelated(Spec):
    pass
"""


@pytest.fixture
def my_lab(tmp_path, monkeypatch):
    """An importable module outside the package: a plug-in, a class of no family, and something else."""
    (tmp_path / "my_lab_shapes.py").write_text(MY_LAB)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("my_lab_shapes")
    del sys.modules["my_lab_shapes"]


def test_settings_are_frozen_and_strict():
    square = Square(side=2.0)
    with pytest.raises(ValidationError, match="frozen"):
        square.side = 3.0
    with pytest.raises(ValidationError, match="Extra inputs"):
        Square(sied=2.0)
    with pytest.raises(ValidationError, match="finite"):
        Square(side=float("nan"))


def test_a_fingerprint_never_changes():
    # cached labels are found by it: a change here throws every cache away
    assert fingerprint({"b": [1, 2.5, None], "a": "é"}) == (
        "84afbf1d4853005f9dd0c81cb1819b53ce86978340764c062160f6e8356665de"
    )
    assert fingerprint(["pyacemaker.base", "Spec", {}]) == Spec().fingerprint()


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
    with pytest.raises(ValueError):
        fingerprint([float("nan")])


def test_a_fingerprint_tells_classes_and_settings_apart_and_counts_defaults():
    assert Square().fingerprint() == Square(side=1.0).fingerprint()
    assert Square().fingerprint() != Square(side=2.0).fingerprint()

    class Rectangle(Square):
        pass

    assert Rectangle().fingerprint() != Square().fingerprint()


def test_an_input_file_counts_by_its_content(tmp_path):
    (tmp_path / "a.txt").write_text("same")
    (tmp_path / "b.txt").write_text("same")
    first, second = Reader(file=tmp_path / "a.txt"), Reader(file=tmp_path / "b.txt")
    assert first.fingerprint() == second.fingerprint()
    (tmp_path / "b.txt").write_text("other")
    assert first.fingerprint() != second.fingerprint()
    assert first.model_dump(mode="json")["file"] == str(tmp_path / "a.txt")


def test_an_input_file_is_relative_to_the_config_and_must_exist(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    found = Reader.model_validate({"file": "a.txt"}, context={"base_dir": tmp_path})
    assert found.file == tmp_path / "a.txt"
    with pytest.raises(ValidationError, match=r"b\.txt does not exist"):
        Reader.model_validate({"file": "b.txt"}, context={"base_dir": tmp_path})
    with pytest.raises(ValidationError, match="is a directory"):
        Reader(file=tmp_path)


def test_a_union_is_chosen_by_kind():
    drawing = Drawing.model_validate({"shapes": [{"kind": "circle", "radius": 2}, {"kind": "square"}]})
    assert drawing.shapes == (Circle(radius=2.0), Square())
    with pytest.raises(ValidationError, match="square"):
        Drawing.model_validate({"shapes": [{"kind": "triangle"}]})


def test_a_plug_in_is_named_by_module_and_class(my_lab):
    star = TypeAdapter(AnyShape).validate_python({"kind": "my_lab_shapes:Star", "points": 7})
    assert (type(star), star.points) == (my_lab.Star, 7)
    assert Drawing(shapes=(star,)).shapes[0] is star


def test_a_plug_in_survives_being_written_out_and_read_again(my_lab):
    before = Drawing(shapes=(my_lab.Star(points=6), Square(side=2.0)))
    content = before.model_dump(mode="json", serialize_as_any=True)
    assert content["shapes"] == [
        {"points": 6, "kind": "my_lab_shapes:Star"},
        {"kind": "square", "side": 2.0},
    ]
    assert Drawing.model_validate(content) == before
    alone = my_lab.Star(points=6)
    assert my_lab.Star.model_validate(alone.model_dump()) == alone


def test_a_plug_in_s_settings_count_in_the_fingerprint(my_lab):
    prints = {Drawing(shapes=(my_lab.Star(points=n),)).fingerprint() for n in (5, 6)}
    assert len(prints) == 2


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent_module:Star", "cannot be imported"),
        ("my_lab_shapes:Comet", "cannot be imported"),
        ("my_lab_shapes:number", "is not a subclass of"),
        ("my_lab_shapes:Unrelated", "is not a subclass of"),
        (":Star", "mpty module name"),
    ],
)
@pytest.mark.usefixtures("my_lab")
def test_a_plug_in_that_is_none_is_refused(kind, message):
    with pytest.raises(ValidationError, match=message):
        Drawing.model_validate({"shapes": [{"kind": kind}]})


@pytest.mark.usefixtures("my_lab")
def test_a_plug_in_with_wrong_settings_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        Drawing.model_validate({"shapes": [{"kind": "my_lab_shapes:Star", "pionts": 3}]})
