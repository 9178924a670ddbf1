"""Where in a JSON value a schema is broken, and how: run only once converting it has failed.

msgspec reports the first violation, but not the key of a mapping's entry nor the value that came.
This walks the same types again, down to the innermost field that does not convert.
"""

from __future__ import annotations

import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    str: "a string",
    bool: "true or false",
    type(None): "null",
}


def explain(value: object, expected: Any, path: str = "") -> str | None:
    """Return `field.path: expected …, got …` for the innermost violation; None: there is none."""
    try:
        msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        return _deeper(value, expected, path) or _here(value, expected, path, error)
    return None


def _deeper(value: object, expected: Any, path: str) -> str | None:
    for child, child_type, child_path in _children(value, expected, path):
        if message := explain(child, child_type, child_path):
            return message
    return None


def _children(value: object, expected: Any, path: str) -> list[tuple[object, Any, str]]:
    """The parts of `value` whose type `expected` prescribes."""
    arguments = get_args(expected)
    if get_origin(expected) is Annotated:
        return _children(value, arguments[0], path)
    if get_origin(expected) in (Union, types.UnionType):
        some = [argument for argument in arguments if argument is not type(None)]
        return _children(value, some[0], path) if len(some) == 1 and value is not None else []
    if isinstance(value, dict):
        if _is_record(expected):
            fields = msgspec.structs.fields(expected)
            return [(value[f.name], f.type, _join(path, f.name)) for f in fields if f.name in value]
        if get_origin(expected) is dict:
            return [(entry, arguments[1], _join(path, key)) for key, entry in value.items()]
    if isinstance(value, list) and _is_array(expected):
        return [(entry, arguments[0], f"{path}[{i}]") for i, entry in enumerate(value)]
    return []


def _here(value: object, expected: Any, path: str, error: msgspec.ValidationError) -> str:
    where = path or "the file"
    if isinstance(value, dict) and _is_record(expected):
        fields = msgspec.structs.fields(expected)
        known = [field.name for field in fields]
        closed = expected.__struct_config__.forbid_unknown_fields
        if unknown := [name for name in value if closed and name not in known]:
            return f"{_join(path, unknown[0])}: unknown field{_meant(unknown[0], known)}"
        if absent := [f.name for f in fields if f.required and f.name not in value]:
            return f"{_join(path, absent[0])}: missing; expected {_words(_type(fields, absent[0]))}"
    if "out of range" in str(error):
        return f"{where}: the number is out of range"
    return f"{where}: expected {_words(expected)}, got {_shown(value)}"


def _type(fields: tuple[msgspec.structs.FieldInfo, ...], name: str) -> Any:
    return next(field.type for field in fields if field.name == name)


def _words(expected: Any) -> str:
    """A type, in words."""
    origin, arguments = get_origin(expected), get_args(expected)
    if origin is Annotated:
        return _words(arguments[0]) + "".join(map(_bounds, arguments[1:]))
    if origin is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(argument) for argument in arguments)
    if _is_array(expected):
        return "an array"
    return _WORDS.get(expected, "an object")


def _bounds(meta: Meta) -> str:
    """What a number, or an array's length, may be: ` >= 1, <= 10`."""
    limits = (
        (">", meta.gt),
        (">=", meta.ge),
        ("<", meta.lt),
        ("<=", meta.le),
        ("of at least", meta.min_length),
        ("of at most", meta.max_length),
    )
    return ",".join(f" {sign} {limit:g}" for sign, limit in limits if limit is not None)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _meant(name: str, known: list[str]) -> str:
    import difflib  # only on the way to an error

    close = difflib.get_close_matches(name[:100], known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(known)}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_array(expected: Any) -> bool:
    arguments = get_args(expected)
    return get_origin(expected) is list or (get_origin(expected) is tuple and arguments[-1] is ...)


def _is_record(expected: Any) -> bool:
    return isinstance(expected, type) and issubclass(expected, msgspec.Struct)
