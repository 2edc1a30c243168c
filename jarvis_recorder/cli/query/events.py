"""`query events` and `query histogram`."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from inspect import Signature, signature
from itertools import chain
from typing import Annotated, Any, Final, get_args

import typer

from jarvis_recorder.cli.completion import complete_cluster, complete_node
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
    Bucket,
    Since,
    TimeZone,
    Until,
    before,
    local_zone,
    require_order,
)
from jarvis_recorder.spec.parameters import keyword
from jarvis_recorder.wire.records import EventType, Severity, Source
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.zones import find_zone


def _one_of(*values: str) -> dict[str, Any]:
    """Return how Typer reads an option that may be repeated; it knows no lists of such values."""

    def read(text: str) -> str:
        if text not in values:
            raise typer.BadParameter(f"must be one of {', '.join(values)}")
        return text

    return {
        "parser": read,
        "metavar": f"[{'|'.join(values)}]",
        "autocompletion": lambda: list(values),
    }


_Type = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        help="Only of this type; with --unresolved alerts, unless it says any. This option and the "
        "next ones may be repeated.",
        **_one_of(*get_args(EventType), "any"),
    ),
]
_Severity = Annotated[
    list[str] | None,
    typer.Option(
        "--severity", help="Only of exactly this severity.", **_one_of(*get_args(Severity))
    ),
]
_Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="FIELD:VALUE",
        help="None with this value, as type:metric or node:pve1; node: and cluster: are those "
        "that name none. May be repeated.",
    ),
]
_MinSeverity = Annotated[
    Severity | None, typer.Option("--min-severity", help="Only at least as severe as this.")
]
_Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="NAME",
        help="Only of this cluster; '' for none named.",
        autocompletion=complete_cluster,
    ),
]
_Source = Annotated[
    list[str] | None,
    typer.Option("--source", help="Only from this source.", **_one_of(*get_args(Source))),
]
_Node = Annotated[
    list[str] | None,
    typer.Option("--node", metavar="NAME", help="Only of this node.", autocompletion=complete_node),
]
_Resolved = Annotated[
    bool | None,
    typer.Option("--resolved/--unresolved", help="Only those resolved, or those not.",
                 show_default=False),
]  # fmt: skip
_Text = Annotated[
    str | None, typer.Option("--text", metavar="WORDS", help="Only with this in the summary.")
]
_By = Annotated[
    params.CountedBy | None,
    typer.Option("--by", help="What to tell apart, by colour and in numbers."),
]

_FILTERS: Final = tuple(
    keyword(name, annotation, None)
    for name, annotation in (
        ("type_", _Type),
        ("severity", _Severity),
        ("min_severity", _MinSeverity),
        ("source", _Source),
        ("node", _Node),
        ("cluster", _Cluster),
        ("resolved", _Resolved),
        ("text", _Text),
        ("exclude", _Exclude),
    )
)
_NOTHING: Final = (
    "No event fits. Try fewer filters or an earlier --since; `query stats` says what there is."
)
_DAY: Final = timedelta(days=1)


def register(commands: typer.Typer) -> None:
    commands.command(
        epilog="Example: `jarvis-recorder query events --min-severity error --since yesterday`. "
        + HOW_TO_WRITE
    )(events)
    commands.command(
        epilog="Example: `jarvis-recorder query histogram --since 2h --by severity`. "
        + HOW_TO_WRITE
    )(histogram)


def _filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Add the filters of events to a command, which gets them as params in its `filters`."""

    @wraps(command)
    def run(options: RequestOptions, **given: Any) -> None:
        filters = {one.name: given.pop(one.name) for one in _FILTERS}
        several = {
            name: _several(filters[name]) for name in ("severity", "source", "node", "exclude")
        }
        types = _types_of(filters.pop("type_"), filters["resolved"])
        command(options, filters={**filters, **several, "type": types}, **given)

    parameters = {one.name: [one] for one in signature(command).parameters.values()}
    parameters["filters"] = [*_FILTERS]
    run.__signature__ = Signature([*chain(*parameters.values())])  # type: ignore[attr-defined]
    return run


def _types_of(named: list[str] | None, resolved: bool | None) -> Any:
    """Return the types to request; unresolved events are alerts, unless `--type` names another."""
    if not named and resolved is False:
        return "alert"
    return None if named and "any" in named else _several(named)


def _several(values: Sequence[Any] | None) -> Any:
    """Return the values of an option as they are sent: one by itself, as any recorder takes it."""
    return values[0] if values and len(values) == 1 else values or None


@requests
@_filtered
def events(
    options: RequestOptions,
    *,
    filters: dict[str, Any],
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    everything: All = False,
) -> None:
    """List events, newest first. All filters given must fit."""
    from jarvis_recorder.cli.output.events import EventTable

    most = wanted(limit, everything)
    require_order(since, until)
    request = build_params(params.ListEvents, **filters, since=since, until=until)
    show_pages(options, Listing(request, "events", EventTable(), _NOTHING), most)


@requests
@_filtered
def histogram(
    options: RequestOptions,
    *,
    since: Since = None,
    until: Until = None,
    by: _By = None,
    bucket: Bucket = None,
    time_zone: TimeZone = None,
    filters: dict[str, Any],
) -> None:
    """
    Draw how many events there were and when; of the last day, unless asked otherwise.

    On a terminal as columns that fit its width, in a pipe as a bar a line.
    """
    from jarvis_recorder.cli.output.histogram import show_histogram

    end = until or datetime.now(UTC)
    require_order(since, end)
    request = build_params(
        params.EventHistogram,
        since=since or before(end, _DAY),
        until=end,
        bucket_seconds=bucket,
        time_zone=time_zone or (None if options.as_json else local_zone()),
        by=by,
        **filters,
    )
    zone = find_zone(request.time_zone or "UTC") or UTC
    show(options, request, lambda screen, answer: show_histogram(screen, answer, by, zone))
