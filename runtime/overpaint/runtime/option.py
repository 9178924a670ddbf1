"""How an option of a run is declared: its default, its bounds and one line of help, in one place.

    strength: float | None = option(None, "0 keeps the picture, 1 repaints all", low=0, high=1)

`declared` reads the declarations back. Checks, the command line's flags, the native API's fields,
the picture's parameters and the documentation's table are made from them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

from overpaint.bundle.errors import UsageError

_KEY: Final = "option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is declared beside a name, a type and a default.

    help: one line, without a full stop. low, high: the least and the greatest value, included
    unless `between`. choices: gives the words that may be chosen from; a function, so that
    declaring an option imports nothing. metavar: what the command line's help calls the value.
    short: the only flag that the command line has for it, such as "-n".
    """

    help: str
    low: float | None = None
    high: float | None = None
    between: bool = False
    choices: Callable[[], tuple[str, ...]] | None = None
    metavar: str | None = None
    short: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One option of a class. `kind` is its type without None, which it takes where `optional`."""

    name: str
    kind: Any
    optional: bool
    default: Any
    option: Option

    def check(self, value: object) -> None:
        """Raise UsageError unless `value` is of the kind, within bounds and among the choices."""
        if value is None and self.optional:
            return
        if self.option.choices is not None:
            _check_choice(self.name, value, self.option.choices())
            return
        if not _is_a(self.kind, value) or not _within(self.option, value):
            raise UsageError(f"{self.name}: expected {self.expected}, got {value!r}")

    @property
    def takes(self) -> str:
        """The same in a column's width: `0..1`, `torch|numpy`; empty where any value will do."""
        if self.option.metavar or self.option.choices is None:
            return self.option.metavar or _range(self.option)
        return "|".join(self.option.choices())

    @property
    def expected(self) -> str:
        """What may be given, for people: `a number from 0 to 1`."""
        return _WORDS[self.kind] + _span(self.option)


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    between: bool = False,
    choices: Callable[[], tuple[str, ...]] | None = None,
    metavar: str | None = None,
    short: str | None = None,
) -> Any:
    """A dataclass field that declares an option; the words are `Option`'s."""
    declared = Option(
        help=help,
        low=low,
        high=high,
        between=between,
        choices=choices,
        metavar=metavar,
        short=short,
    )
    return field(default=default, metadata={_KEY: declared})


@cache
def declared(settings: type[Any]) -> Mapping[str, Declared]:
    """Every option that the dataclass `settings` declares, by name, in its order."""
    hints = get_type_hints(settings)
    return {
        one.name: _declared(one, hints[one.name])
        for one in fields(settings)
        if _KEY in one.metadata
    }


def _declared(one: Field[Any], hint: Any) -> Declared:
    kinds = get_args(hint)
    optional = NoneType in kinds
    # Of a number, or several, the last says what both are.
    [*_, kind] = [kind for kind in kinds if kind is not NoneType] if optional else [hint]
    return Declared(
        name=one.name,
        kind=kind,
        optional=optional,
        default=one.default,
        option=one.metadata[_KEY],
    )


NUMBERS: Final[Any] = tuple[float, ...]
"""A number, or several of them in a tuple or a list."""

SEVERAL: Final[Any] = tuple[int, ...]
"""Whole numbers in a tuple."""

_WORDS: Final[Mapping[Any, str]] = {
    float: "a number",
    int: "a whole number",
    str: "text",
    bool: "True or False",
    tuple[int, int]: "(width, height) in pixels",
    tuple[int, int, int, int]: "(left, top, right, bottom) in pixels",
    NUMBERS: "a number, or several,",
    SEVERAL: "one or several whole numbers",
}


def _is_a(kind: Any, value: object) -> bool:
    if kind == tuple[int, int]:
        return _is_whole(value, count=2, least=1)
    if kind == tuple[int, int, int, int]:
        return _is_whole(value, count=4, least=0)
    if kind == SEVERAL:
        return isinstance(value, tuple) and _is_whole(value, count=max(1, len(value)), least=0)
    if kind == NUMBERS and isinstance(value, tuple | list):
        return bool(value) and all(_is_a(float, one) for one in value)
    if isinstance(value, bool):  # which Python counts among the whole numbers
        return kind is bool
    if kind in (float, NUMBERS):
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, kind)


def _is_whole(value: object, *, count: int, least: int) -> bool:
    """Whether `value` is a tuple of so many whole numbers, none below `least`."""
    return (
        isinstance(value, tuple)
        and len(value) == count
        and all(type(one) is int and one >= least for one in value)
    )


def _within(option: Option, value: Any) -> bool:
    if isinstance(value, tuple | list) and option.low is not None:
        return all(_within(option, one) for one in value)
    if option.between:
        return bool(_low(option) < value < _high(option))
    return (option.low is None or value >= option.low) and (
        option.high is None or value <= option.high
    )


def _low(option: Option) -> float:
    return -math.inf if option.low is None else option.low


def _high(option: Option) -> float:
    return math.inf if option.high is None else option.high


def _span(option: Option) -> str:
    if option.between:
        return f" between {option.low:g} and {option.high:g}"
    if option.low is not None and option.high is not None:
        return f" from {option.low} to {option.high}"
    return f" of {option.low} or more" if option.low is not None else ""


def _range(option: Option) -> str:
    if option.low is None or (option.high is not None and option.high > 2**32):
        return ""
    return f"{option.low:g}.." + ("" if option.high is None else f"{option.high:g}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value in choices:
        return
    close = difflib.get_close_matches(str(value), choices, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(choices)}"
    raise UsageError(f"{name}: unknown value {value!r}; {hint}")
