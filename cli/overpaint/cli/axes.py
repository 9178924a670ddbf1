"""What a grid's axes run over: `strength=0.2,0.4,0.6`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from overpaint.bundle.errors import UsageError
from overpaint.runtime.option import Declared
from overpaint.runtime.settings import Settings, options

from .sizes import parse_size

_MOST: Final = 32
_ALONE: Final = ("n", "seeds", "extend", "ip_adapter_scale")
"""Options that no axis runs over: a cell holds one picture, and a comma parts an axis' values."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An option of a run, and the values that it takes one after the other."""

    name: str
    values: tuple[Any, ...]

    def labels(self) -> list[str]:
        return [f"{self.name} {_written(value)}" for value in self.values]

    def at(self, settings: Settings, index: int) -> Settings:
        """`settings` with one of the values. Raises UsageError where it is out of range."""
        return replace(settings, **{self.name: self.values[index]})

    def along(self, settings: Settings) -> list[Settings]:
        """`settings` with each of the values."""
        return [self.at(settings, index) for index in range(len(self.values))]


def read_axis(flag: str, text: str) -> Axis:
    """What was typed behind `flag`. Raises UsageError."""
    name, equals, values = text.partition("=")
    name = name.strip().removeprefix("--").replace("-", "_")
    known = [one for one in options() if one not in _ALONE]
    if not equals or name not in known:
        raise UsageError(
            f"{flag}: expected OPTION=VALUE,VALUE..., as in strength=0.2,0.4; got {text!r}. The "
            f"options are {', '.join(known)}"
        )
    given = [value.strip() for value in values.split(",")]
    if not all(given) or len(given) > _MOST:
        raise UsageError(f"{flag}: expected 1 to {_MOST} values for {name}, got {values!r}")
    return Axis(name, tuple(read_value(flag, options()[name], value) for value in given))


def _switch(text: str) -> bool:
    return {"on": True, "off": False}[text]


_READ: Final[dict[Any, Callable[[str], Any]]] = {
    float: float,
    int: int,
    bool: _switch,
    tuple[int, int]: parse_size,
}


def read_value(flag: str, one: Declared, text: str) -> Any:
    """What `text` means to an option: a size is WIDTHxHEIGHT, a switch on or off. UsageError."""
    read = _READ.get(one.kind, str)
    try:
        value = read(text)
    except (ValueError, KeyError):
        wanted = "on or off" if one.kind is bool else one.expected
        raise UsageError(f"{flag}: {one.name}: expected {wanted}, got {text!r}") from None
    try:
        one.check(value)
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from None
    return value


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
