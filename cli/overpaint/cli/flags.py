"""The options of a run as the command line's flags, made of their declarations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer

from overpaint.runtime.option import NUMBERS, SEVERAL, Declared
from overpaint.runtime.settings import options

from .sizes import parse_margins, parse_numbers, parse_seeds, parse_size

_WRITTEN: Final[Mapping[Any, Callable[[str], Any]]] = {
    tuple[int, int]: parse_size,
    tuple[int, int, int, int]: parse_margins,
    NUMBERS: parse_numbers,
    SEVERAL: parse_seeds,
}
"""What reads the kinds that are no flag's own."""


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, its parameter `settings` replaced by a flag for each option that the parameter's
    type declares."""
    signature = inspect.signature(command, eval_str=True)
    made = signature.parameters["settings"].annotation
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.name == "settings":
            parameters += [_parameter(one) for one in options(made).values()]
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    def with_flags(**values: Any) -> None:
        asked = {name: _value(one, values.pop(name)) for name, one in options(made).items()}
        command(settings=made(**asked), **values)

    with_flags.__doc__ = command.__doc__
    with_flags.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_flags


def flag(one: Declared) -> str:
    """How the command line calls an option: `--size`, or `--mask-paste/--no-mask-paste`."""
    name = one.name.replace("_", "-")
    return one.option.short or (f"--{name}/--no-{name}" if one.default is True else f"--{name}")


def _parameter(one: Declared) -> inspect.Parameter:
    kind = str if one.kind in _WRITTEN else one.kind
    told = typer.Option(flag(one), help=f"{one.option.help}.", metavar=one.takes or None)
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=one.default,
        annotation=Annotated[kind | None if one.optional else kind, told],
    )


def _value(one: Declared, given: Any) -> Any:
    """What a flag's text means: a size is written WIDTHxHEIGHT."""
    read = _WRITTEN.get(one.kind)
    return given if read is None or given is None else read(given)
