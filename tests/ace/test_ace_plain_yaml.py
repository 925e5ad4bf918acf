from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.ace.plain_yaml import PlainYamlError, parse


def test_values_stay_texts():
    content = parse("a: [N, Yes, 1e-5, 010, ~, '1:30']\n[0, 1]: {b: .nan}\n? [2, 3]\n: x\nempty:\n")
    assert content == {
        "a": ["N", "Yes", "1e-5", "010", "~", "1:30"],
        ("0", "1"): {"b": ".nan"},
        ("2", "3"): "x",
        "empty": "",
    }


def test_lists_of_numbers_are_read_as_yaml_reads_them():
    text = (
        "a: [1, -2.5,  3e-5 , +.4]\nb: []\nc: [ 7, ]\nd: [[1, 2], [3]]\n[0, -1]: x\ne: 'see [1, 2] and [3]'\n"
        "f: [1,\n  2]\ng: see [1, 2]\n"
    )
    expected = {
        "a": ["1", "-2.5", "3e-5", "+.4"],
        "b": [],
        "c": ["7"],
        "d": [["1", "2"], ["3"]],
        ("0", "-1"): "x",
        "e": "see [1, 2] and [3]",
        "f": ["1", "2"],
        "g": "see [1, 2]",
    }
    assert parse(text) == expected


def test_nothing_is_an_empty_text():
    assert parse("") == parse("# only a comment\n") == parse("---\n") == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [2\n", "line 3"),
        ("a: 1\nb: 2\na: 3\n", "key a twice"),
        ("[0, 1]: 1\n[0,  1]: 2\n", r"key \[0, 1\] twice"),
        ("a: &x [1, 2]\nb: *x\n", r"alias, \*x, at line 2"),
        ("a: &a {b: *a}\n", "alias"),
        ("{a: 1}: 2\n", "neither a word"),
        ("[[0], 1]: 2\n", "neither a word"),
        ("a: 1\n---\na: 2\n", "2 documents"),
        ("[" * 100, "deeper than 50 levels at line 1"),
        ("[" * 200000, "deeper"),
        ("- " * 200000, "deeper"),
        ("a: \ue000", "private"),
        ("a: \x00", "."),
        ("\t- a: b: c", "."),
    ],
)
def test_what_is_not_plain_is_refused(text, message):
    with pytest.raises(PlainYamlError, match=message):
        parse(text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab01 .-:,[]{}&*!|>'\"?\n\t#%", max_size=40))
def test_any_text_is_read_or_refused(text):
    with suppress(PlainYamlError):
        parse(text)
