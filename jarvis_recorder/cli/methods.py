"""The commands of the methods that need none by hand, made from the table of methods."""

import shlex
from collections.abc import Callable, Iterator
from datetime import datetime
from inspect import Parameter, Signature, cleandoc
from operator import getitem
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import typer
from typer.models import CommandInfo

from jarvis_recorder.cli.completion import OF_PARAMS
from jarvis_recorder.cli.output.pages import Listing
from jarvis_recorder.cli.rpc import (
    All,
    Limit,
    RequestOptions,
    build_params,
    requests,
    show,
    show_pages,
    wanted,
)
from jarvis_recorder.cli.time_options import (
    HOW_TO_WRITE,
    HOW_TO_WRITE_COMING,
    read_coming_time,
    read_time,
    require_order,
)
from jarvis_recorder.errors import NotFound
from jarvis_recorder.spec import parameters as spec
from jarvis_recorder.spec.parameters import keyword, parameters_of
from jarvis_recorder.wire import strict_json
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.rpc.methods import GROUPS, METHODS, Method

# In these a span such as `4h` reaches forward from now; in all others it reaches back.
_TO_COME: Final = frozenset(
    {(params.SilenceIncidents, "since"), (params.SilenceIncidents, "until")}
)
_EXAMPLE_TO_COME: Final = "4h"
# In an example a person types these instead of the times of the table.
_EXAMPLE_PAST: Final = {"since": "7d", "from": "7d", "until": "now", "to": "now"}
# The params of which one names an event or an incident.
_NAMES_ONE: Final = {"id", "key"}
# The order of the commands in a group's help.
_ORDER: Final = {words: at for at, method in enumerate(METHODS) if (words := method.words())}


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
            add = commands.command(name, help=_help(method), epilog=_example(method, words))
            add(_command(method))
        if groups:
            commands.registered_commands.sort(
                key=lambda one: _ORDER.get(" ".join((*groups, _name(one))), len(_ORDER))
            )


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


def _help(method: Method) -> str:
    text = cleandoc(method.params.__doc__ or "")
    if method.fails is NotFound and _NAMES_ONE & method.params.__dataclass_fields__.keys():
        text += f"\n\nExit code 1 if there is no such {method.group.removesuffix('s')}."
    return text


def _example(method: Method, words: str) -> str | None:
    if method.example is None:
        return None
    given = method.example.params
    shown = [one for one in parameters_of(method) if one.spelled in given]
    # Arguments come before options.
    shown.sort(key=lambda one: not one.is_required)
    typed = [word for one in shown for word in _typed(method, one, given[one.spelled])]
    how = next(
        (f". {_how_to_write(method, one)}" for one in shown if _plain(one.kind) is datetime), ""
    )
    return f"Example: `{shlex.join(('jarvis-recorder', *words.split(), *typed))}`{how}"


def _typed(method: Method, one: spec.Parameter, value: Any) -> Iterator[str]:
    """Yield the words of a command that give a param a value."""
    for each in value if isinstance(value, list) else [value]:
        if not one.is_required:
            yield _option(one)
        if _is_to_come(method, one):
            yield _EXAMPLE_TO_COME
        else:
            yield _EXAMPLE_PAST.get(one.spelled, str(each))


def _option(one: spec.Parameter) -> str:
    return f"--{one.spelled.replace('_', '-')}"


def _is_to_come(method: Method, one: spec.Parameter) -> bool:
    return (method.params, one.name) in _TO_COME


def _how_to_write(method: Method, one: spec.Parameter) -> str:
    return HOW_TO_WRITE_COMING if _is_to_come(method, one) else HOW_TO_WRITE


def _command(method: Method) -> Callable[..., None]:
    """Return a function that Typer calls with the params as its own parameters."""

    def command(options: RequestOptions, **given: Any) -> None:
        from jarvis_recorder.cli.output import views

        if method.items is None:
            show(options, build_params(method.params, **given), views.view_of(method.result))
            return
        require_order(given.get("since"), given.get("until"))
        most = wanted(given.pop("limit"), given.pop("everything"))
        request = build_params(method.params, **given)
        listing = Listing(
            request,
            method.items,
            views.view_of_page(method.result),
            views.nothing_in(method.result),
            views.remark_on_page(method.result),
        )
        show_pages(options, listing, most)

    parameters = [keyword("options", RequestOptions), *_parameters(method)]
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return requests(command)


def _parameters(method: Method) -> Iterator[Parameter]:
    """Yield an argument for each param that is required, an option for any other."""
    for one in parameters_of(method):
        name, kind, description, is_required, default = one
        if method.items is not None and name in ("limit", "cursor"):
            continue
        time_reader = read_coming_time if _is_to_come(method, one) else read_time
        plain, reading = _read_as(_plain(kind), time_reader)
        explained = {"help": description[:1].upper() + description[1:] + ".", **reading}
        if name in OF_PARAMS:
            explained["autocompletion"] = OF_PARAMS[name]
        if is_required:
            place = typer.Argument(**explained | {"metavar": one.spelled.upper()})
            yield keyword(name, getitem(Annotated, (plain, place)))
        else:
            if name in OF_PARAMS:
                explained["metavar"] = "NAME"
            place = typer.Option(_option(one), show_default=default is not None, **explained)
            yield keyword(name, getitem(Annotated, (plain | None, place)), default)
    if method.items is not None:
        yield keyword("limit", Limit, None)
        yield keyword("everything", All, False)


def _plain(kind: Any) -> Any:
    """Return a type without None and without its bounds, which the params check; a list's items too."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        # Of a value or several the list comes last: the option may be repeated.
        return _plain([part for part in get_args(kind) if part is not NoneType][-1])
    if get_origin(kind) is list:
        return getitem(list, _plain(*get_args(kind)))  # type: ignore[call-overload]
    return kind


def _read_as(kind: Any, time_reader: Callable[[str], datetime]) -> tuple[Any, dict[str, Any]]:
    """Return a type as Typer takes it, and how it reads one that it does not know."""
    if kind is datetime:
        return kind, {"parser": time_reader, "metavar": "TIME"}
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
