# ruff: noqa: E501  (expected messages are single lines)
import math

import pytest

from flowloom_registry.config.nodes import MapNode, plain
from flowloom_registry.config.yaml import read, write
from flowloom_registry.errors import ConfigError


def value(text):
    document = read(text, "f.yaml")
    assert not document.problems
    return plain(document.root)


def lines(text):
    try:
        return [str(problem) for problem in read(text, "f.yaml").problems]
    except ConfigError as error:
        return [str(problem) for problem in error.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 1e-4),
        ("-1E+3", -1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("7", 7),
        ("-7", -7),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("-.inf", -math.inf),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("2210.02747", 2210.02747),
        ("'1e-4'", "1e-4"),
        ("1_000", "1_000"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("!!str 5", "5"),
    ],
)
def test_scalars(text, expected):
    got = value(f"x: {text}")["x"]
    assert got == expected
    assert type(got) is type(expected)


def test_not_a_number():
    assert math.isnan(value("x: .nan")["x"])


def test_every_value_keeps_its_position():
    root = read("a: 1\nb:\n  c: [x,\n      y]\n", "f.yaml").root
    assert isinstance(root, MapNode)
    inner = root.get("b")
    assert str(inner.entries["c"].key_at) == "f.yaml:3:3"
    assert [str(item.at) for item in inner.get("c").items] == ["f.yaml:3:7", "f.yaml:4:7"]


def test_duplicate_key_names_the_first_and_keeps_it():
    document = read("a:\n  k: 1\n  j: 2\n  k: 3\n", "f.yaml")
    assert [str(p) for p in document.problems] == [
        "f.yaml:4:3: a.k: key given twice; first at f.yaml:2:3; keep one of them"
    ]
    assert plain(document.root) == {"a": {"k": 1, "j": 2}}


def test_two_duplicates_are_both_reported():
    assert len(lines("a: 1\na: 2\nb: {c: 1, c: 2}\n")) == 2


def test_anchors_and_aliases():
    assert value("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: [1, 2\nb: 3\n", "f.yaml:2:2", "not valid YAML"),
        ("a:\n\tb: 1\n", "f.yaml:2:1", "spaces, not tabs"),
        ("a: b: c\n", "f.yaml:1:5", "quotes"),
        ("a: 'open\n", "f.yaml:2:1", "began in line 1"),
        ("", "f.yaml:1:1", "holds nothing"),
        ("# only a comment\n", "f.yaml:1:1", "holds nothing"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1", "not valid YAML"),
        ("a: *nobody\n", "f.yaml:1:4", "nobody"),
        ("a: !!python/object/apply:os.system [ls]\n", "f.yaml:1:4", "not accepted"),
        ("a: !!python/name:os.system ''\n", "f.yaml:1:4", "not accepted"),
        ("a: !thing 5\n", "f.yaml:1:4", "not accepted"),
        ("a: !!int five\n", "f.yaml:1:4", "does not fit"),
        ("? [1, 2]\n: x\n", "f.yaml:1:3", "single word"),
        ("a: &x {b: *x}\n", "f.yaml:1:4", "contains it"),
        ("base: &x {k: 1}\nb:\n  <<: *x\n", "f.yaml:3:3", "merge keys"),
        ("ok: 1\nbad: \x07\n", "f.yaml:2:6", "not allowed"),
        (b"a: \xff\xfe\n", "f.yaml", "not UTF-8"),
        (f"a: {'9' * 5000}\n", "f.yaml:1:4", "too long"),
        ("[" * 3000, "f.yaml", "nested too deeply"),
    ],
)
def test_bad_files_give_one_line_with_its_place(text, place, words):
    (line,) = lines(text)
    assert line.startswith(f"{place}: ")
    assert words in line
    assert "\n" not in line


def test_aliases_cannot_explode():
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    (line,) = lines(text)
    assert "more than 100000 values" in line


def test_byte_order_mark_is_no_part_of_the_first_key():
    assert value("\ufeffa: 1".encode()) == {"a": 1}


@pytest.mark.parametrize(
    "data",
    ["1e-4", "true", "null", "no", "", "0x1F", "12", 1e-7, 1e300, math.inf, -math.inf, 0, -3, True, None, "é ☃", "a: b",
     "two\nlines", " lead", "#x", [1, [2.5, "3"]], {"a": {"b": []}, "c": {}}],
)  # fmt: skip
def test_what_is_written_reads_back(data):
    assert value(write({"x": data})) == {"x": data}
    assert type(value(write({"x": data}))["x"]) is type(data)
