"""The commands of the methods that need none by hand, made from the table of methods."""

from collections.abc import Callable, Iterator
from datetime import datetime
from inspect import Parameter, Signature, cleandoc
from operator import getitem
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.models import CommandInfo

from jarvis_recorder.cli.completion import OF_PARAMS
from jarvis_recorder.cli.rpc import (
    All,
    Connection,
    Limit,
    Listing,
    build_params,
    keyword,
    requests,
    show,
    show_pages,
    wanted,
)
from jarvis_recorder.cli.time_options import HOW_TO_WRITE, read_time
from jarvis_recorder.spec.parameters import parameters_of
from jarvis_recorder.wire import strict_json
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.rpc.methods import GROUPS, METHODS, Method


def register(application: typer.Typer) -> None:
    """Add the command of each method whose command is not there yet."""
    for method in METHODS:
        if (words := method.words()) is None:
            continue
        *groups, name = words.split()
        commands = application
        for group in groups:
            commands = _group(commands, group)
        if name not in map(_name, commands.registered_commands):
            add = commands.command(name, help=cleandoc(method.params.__doc__ or ""),
                                   epilog=_example(method, words))  # fmt: skip
            add(_command(method))


def _name(command: CommandInfo) -> str:
    return command.name or getattr(command.callback, "__name__", "").replace("_", "-")


def _group(commands: typer.Typer, name: str) -> typer.Typer:
    """Return the commands below a word, which is added where it is new."""
    for group in commands.registered_groups:
        if group.name == name and group.typer_instance is not None:
            return group.typer_instance
    added = typer.Typer(no_args_is_help=True, help=GROUPS.get(name))
    commands.add_typer(added, name=name)
    return added


def _example(method: Method, words: str) -> str | None:
    if method.example is None:
        return None
    given = [p for p in parameters_of(method) if p.spelled in method.example.params]
    arguments = (str(method.example.params[one.spelled]) for one in given if one.is_required)
    how = f". {HOW_TO_WRITE}" if any(one.kind is datetime for one in given) else ""
    return f"Example: `{' '.join(('jarvis-recorder', words, *arguments))}`{how}"


def _command(method: Method) -> Callable[..., None]:
    """Return a function that Typer calls with the params as its own parameters."""

    def command(whom: Connection, **given: Any) -> None:
        from jarvis_recorder.cli.output.views import remark_on_page, view_of, view_of_page

        if method.items is None:
            show(whom, build_params(method.params, **given), view_of(method.result))
            return
        most = wanted(given.pop("limit"), given.pop("everything"))
        request = build_params(method.params, **given)
        view = view_of_page(method.result)
        nothing, remark = "There is none that fits.", remark_on_page(method.result)
        show_pages(whom, Listing(request, method.items, view, nothing, remark), most)

    parameters = [keyword("whom", Connection), *_parameters(method)]
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return requests(command)


def _parameters(method: Method) -> Iterator[Parameter]:
    """Yield an argument for each param that is required, an option for any other."""
    for one in parameters_of(method):
        name, kind, description, is_required, default = one
        if method.items is not None and name in ("limit", "cursor"):
            continue
        plain, reading = _read_as(_plain(kind))
        explained = {"help": description[:1].upper() + description[1:] + ".", **reading}
        if name in OF_PARAMS:
            explained["autocompletion"] = OF_PARAMS[name]
        if is_required:
            place = typer.Argument(**explained | {"metavar": one.spelled.upper()})
            yield keyword(name, getitem(Annotated, (plain, place)))
        else:
            option = f"--{one.spelled.replace('_', '-')}"
            place = typer.Option(option, show_default=default is not None, **explained)
            yield keyword(name, getitem(Annotated, (plain | None, place)), default)
    if method.items is not None:
        yield keyword("limit", Limit, None)
        yield keyword("everything", All, False)


def _plain(kind: Any) -> Any:
    """Return a type without None and without its bounds, which the params check."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        # Of a value or several the list comes last: the option may be repeated.
        return _plain([part for part in get_args(kind) if part is not NoneType][-1])
    return kind


def _read_as(kind: Any) -> tuple[Any, dict[str, Any]]:
    """Return a type as Typer takes it, and how it reads one that it does not know."""
    if kind is datetime:
        return kind, {"parser": read_time, "metavar": "TIME"}
    # A list is an option that is repeated.
    (each,) = get_args(kind) if get_origin(kind) is list else (kind,)
    if each is not kind and get_origin(each) is Literal:
        # Typer knows no list of words; the params check them.
        return list[str], {}
    if each in (str, int, float, bool) or get_origin(each) is Literal:
        return kind, {}
    return str, {"parser": _json, "metavar": "JSON"}


def _json(text: str) -> Any:
    try:
        return strict_json.parse(text.encode())
    except Refused as refused:
        raise typer.BadParameter(refused.error) from None
