"""Validation of JSON fields against the types of a dataclass."""

import math
import reprlib
import types
from dataclasses import MISSING, fields
from typing import Any, Union, get_args, get_origin, get_type_hints


def arguments(kind: type[Any], stored: Any, name: str, leave: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the arguments of a dataclass from a JSON object; ignores entries that are not fields of the dataclass.

    Args:
        kind: the dataclass.
        stored: its fields by name.
        name: name of the object, for messages.
        leave: fields that are read elsewhere.

    Raises:
        ValueError: `stored` is not an object, a field without a default is missing, or a value has another type.

    >>> from gip_gpu.problem.options import Options
    >>> arguments(Options, {"objective": "lr", "epsilon": 1, "of a later version": 7}, "options")
    {'objective': 'lr', 'epsilon': 1}
    """
    if not isinstance(stored, dict):
        raise ValueError(f"{name} is {reprlib.repr(stored)}; it must be an object with fields")
    hints, found = get_type_hints(kind), {}
    for entry in fields(kind):
        if entry.name in leave:
            continue
        if entry.name in stored:
            found[entry.name] = checked(stored[entry.name], hints[entry.name], f"{name}: {entry.name}")
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise ValueError(f"{name} lacks {entry.name!r}")
    return found


def checked(value: Any, hint: Any, name: str) -> Any:
    """Returns `value` if it has the type `hint`: None, bool, int, float, str, a dict of these by name, or a union.

    Raises:
        ValueError: the value has another type. An int is a valid float; a bool, NaN and infinity are not numbers.
    """
    if not _fits(value, hint):
        raise ValueError(f"{name} is {reprlib.repr(value)}; it must be {_described(hint)}")
    return value


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, choice) for choice in get_args(hint))
    if get_origin(hint) is dict:
        key, item = get_args(hint)
        return isinstance(value, dict) and all(_fits(k, key) and _fits(v, item) for k, v in value.items())
    if isinstance(value, bool):
        return hint is bool
    # Python's JSON reader accepts NaN and infinities; here they are not numbers.
    return (isinstance(value, (int, float)) and math.isfinite(value)) if hint is float else isinstance(value, hint)


def _described(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(map(_described, get_args(hint)))
    if get_origin(hint) is dict:
        return f"an object with {_described(get_args(hint)[1])} for each name"
    return {type(None): "null", int: "an int", float: "a number", str: "text", bool: "true or false"}[hint]
