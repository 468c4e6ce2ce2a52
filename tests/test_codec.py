"""Frozen dataclasses to JSON and back, strictly both ways."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest

from craik.codec import decode, differences, encode
from craik.errors import UsageError
from craik.pretrain import Conduct, Data
from craik.recipes import builtin, find, load, variants
from craik.train.runtime import Precision


class Color(StrEnum):
    red = "red"
    blue = "blue"


@dataclass(frozen=True)
class Round:
    radius: float = 1.0


@dataclass(frozen=True)
class Square:
    side: int = 2


@dataclass(frozen=True)
class Drawing:
    shape: Round | Square = field(default_factory=Round)
    inner: Round = field(default_factory=Round)
    frame: Square | None = None
    widths: tuple[int, ...] = (1, 2)
    span: tuple[float, float] = (0.0, 1.0)
    color: Color = Color.red
    name: str | None = None
    filled: bool = False
    count: int = 3


def there_and_back(value: Any) -> Any:
    return decode(type(value), json.loads(json.dumps(encode(value))))


@pytest.mark.parametrize(
    "value",
    [
        Drawing(),
        Drawing(shape=Square(5), frame=Square(7), widths=(), span=(1.0, 2.0), color=Color.blue, name="a", filled=True),
        Data(data="photos", limit=3),
        Conduct(precision=Precision.float32, workers=2),
    ],
)
def test_there_and_back(value: Any) -> None:
    assert there_and_back(value) == value


@pytest.mark.parametrize("name", builtin())
def test_every_recipe_comes_back(name: str) -> None:
    for variant in variants(load(name)):
        config = find(f"{name}:{variant}").config
        assert there_and_back(config) == config, variant


def test_a_field_of_several_classes_says_which() -> None:
    assert encode(Drawing(shape=Square(5)))["shape"] == {"kind": "Square", "side": 5}
    assert "kind" not in encode(Drawing())["inner"]
    assert "kind" not in encode(Drawing(frame=Square()))["frame"]


def test_whole_numbers_are_numbers() -> None:
    """JSON written by hand says 1 where a float is meant."""
    found = decode(Drawing, {**encode(Drawing()), "inner": {"radius": 1}})
    assert isinstance(found.inner.radius, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hight": 3}, r"config: unknown hight; known are color, count.*a newer version of Craik"),
        ({"inner": {"radius": 1.0, "side": 2}}, r"config\.inner: unknown side"),
        ({"inner": 3}, r"config\.inner: expected an object"),
        ({"shape": {"kind": "Oval"}}, r"config\.shape\.kind: expected one of Round, Square, got 'Oval'"),
        ({"shape": {"radius": 1.0}}, r"config\.shape\.kind: expected one of Round, Square, got None"),
        ({"count": 2.5}, r"config\.count: expected"),
        ({"count": True}, r"config\.count: expected"),
        ({"count": "3"}, r"config\.count: expected"),
        ({"filled": 1}, r"config\.filled: expected"),
        ({"color": "green"}, r"config\.color: expected"),
        ({"name": 3}, r"config\.name: expected"),
        ({"inner": None}, r"config\.inner: expected an object"),
        ({"span": [1.0]}, r"config\.span: expected 2 values, got 1"),
        ({"widths": [1, "2"]}, r"config\.widths\[1\]: expected"),
        ({"widths": 3}, r"config\.widths: expected"),
    ],
)
def test_whatever_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        decode(Drawing, {**encode(Drawing()), **change})


@dataclass(frozen=True)
class Frame:
    width: int
    drawing: Drawing = Drawing(count=5)

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width {self.width}: give at least 1")


def test_a_field_that_came_later_takes_its_default() -> None:
    """As what was recorded before there was such a field, at any depth."""
    old = {"width": 2, "drawing": encode(Drawing(inner=Round(3.0)))}
    del old["drawing"]["count"], old["drawing"]["frame"], old["drawing"]["shape"]
    assert decode(Frame, old) == Frame(2, Drawing(inner=Round(3.0)))
    assert decode(Frame, {"width": 2}) == Frame(2, Drawing(count=5)), "a section as a whole is that of its owner"


def test_a_field_without_a_default_has_to_be_there() -> None:
    with pytest.raises(UsageError, match="config: width missing; was it written by another version of Craik"):
        decode(Frame, {})


def test_values_that_do_not_go_together_are_refused_by_their_place() -> None:
    with pytest.raises(UsageError, match="config: width 0: give at least 1"):
        decode(Frame, {"width": 0})


def test_differences_are_named_by_their_place() -> None:
    old, new = encode(Drawing()), encode(Drawing(shape=Square(4), inner=Round(2.0), count=4))
    assert differences(old, old) == []
    assert differences(old, new) == [
        "count: 3 -> 4",
        "inner.radius: 1.0 -> 2.0",
        "shape.kind: 'Round' -> 'Square'",
        "shape.radius: 1.0 -> None",
        "shape.side: None -> 4",
    ]
