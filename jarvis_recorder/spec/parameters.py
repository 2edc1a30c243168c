"""The params of a method one by one, for routes, commands and documents that spell them again."""

from dataclasses import MISSING, fields
from datetime import datetime
from functools import reduce
from inspect import Parameter as Argument
from operator import getitem, or_
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import Strict
from pydantic.fields import FieldInfo

from jarvis_recorder.wire.rpc.methods import Method

_LAST: Final = ("limit", "cursor")


class Parameter(NamedTuple):
    """
    One param of a method.

    `kind` is its type as it is read from text: with its bounds, but not strict, and a time as a
    mere datetime. `default` is for one that is not required.
    """

    name: str
    kind: Any
    description: str
    is_required: bool
    default: Any

    @property
    def spelled(self) -> str:
        """Its name outside of Python, where `from` is a name like any other."""
        return self.name.rstrip("_")


def parameters_of(method: Method) -> list[Parameter]:
    """Return the params, except the name of the caller; those of paging come last."""
    types = get_type_hints(method.params, include_extras=True)
    return [
        Parameter(
            field.name,
            _unstrict(types[field.name]),
            _description(types[field.name]),
            field.default is MISSING,
            field.default,
        )
        for field in sorted(fields(method.params), key=lambda field: field.name in _LAST)
        if field.name != method.caller
    ]


def keyword(name: str, annotation: Any, default: Any = Argument.empty) -> Argument:
    """Return a keyword of a signature that is made for Typer or FastAPI."""
    return Argument(name, Argument.KEYWORD_ONLY, annotation=annotation, default=default)


def _unstrict(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        return reduce(or_, map(_unstrict, get_args(kind)))
    if get_origin(kind) is not Annotated:
        return kind
    whole, *rules = get_args(kind)
    if whole is datetime:
        return datetime
    bounds = [
        bound
        for rule in rules
        for bound in (rule.metadata if isinstance(rule, FieldInfo) else [rule])
        if not isinstance(bound, Strict)
    ]
    return getitem(Annotated, (_unstrict(whole), *bounds)) if bounds else _unstrict(whole)


def _description(kind: Any) -> str:
    """Return the outermost description in a type."""
    parts = get_args(kind)
    if get_origin(kind) is Annotated:
        texts = [rule.description for rule in parts[1:] if isinstance(rule, FieldInfo)]
        return next(filter(None, reversed(texts)), None) or _description(parts[0])
    return next(filter(None, map(_description, parts)), "")
