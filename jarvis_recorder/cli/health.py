"""`health` and `stats`: readiness and metrics of the recorder on this machine."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jarvis_recorder.cli.options import ConfigFile, Json, Overrides, loaded
from jarvis_recorder.errors import ConfigurationError, RecorderError, RecorderUnavailable
from jarvis_recorder.net.listen_address import reachable_at

if TYPE_CHECKING:
    from jarvis_recorder.cli.output.screen import Screen

_MOST_BYTES: Final = 4 * 1024 * 1024
_READY: Final = (200, 503)

_Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0.1, max=60, help="How long to wait for an answer."
    ),
]


def register(application: typer.Typer) -> None:
    application.command(
        epilog="Example: `jarvis-recorder health --json`. Exit codes: 0 ready, 1 not ready, "
        "69 nothing answers at `http.listen`."
    )(health)
    application.command(
        epilog="Example: `jarvis-recorder stats`. What the database holds: "
        "`jarvis-recorder query stats`."
    )(stats)


def health(
    config: ConfigFile = None,
    set_: Overrides = None,
    timeout: _Timeout = 5.0,
    as_json: Json = False,
) -> None:
    """
    Say whether the recorder on this machine is ready, and what to do where it is not.

    Asks `/readyz` on the address that `http.listen` names. For health checks of containers.
    """
    answer = _readiness(_get(config, set_, "/readyz", timeout))
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        from jarvis_recorder.cli.output.screen import open_screen

        _show_checks(open_screen(), answer["checks"])
    if not answer["ready"]:
        raise typer.Exit(1)


def stats(
    config: ConfigFile = None,
    set_: Overrides = None,
    timeout: _Timeout = 5.0,
    as_json: Json = False,
) -> None:
    """
    Show what the recorder on this machine has done since it started, and how fast.

    Reads `/metrics` on the address that `http.listen` names; needs no broker.
    """
    from jarvis_recorder.cli.output.metrics import figures, read, show_figures
    from jarvis_recorder.cli.output.screen import open_screen

    _, body = _get(config, set_, "/metrics", timeout)
    found = figures(read(body))
    if as_json:
        typer.echo(json.dumps(found._asdict()))
    else:
        show_figures(open_screen(), found)


def _get(
    config: Path | None, overrides: list[str] | None, path: str, timeout: float
) -> tuple[int, str]:
    """Return status and body; a health check must not wait for a larger HTTP client to load."""
    from http.client import HTTPConnection, HTTPException

    listen = loaded(config, overrides).settings.http.listen
    if not listen:
        raise ConfigurationError(
            "http.listen is empty: the recorder reports its health to no one; set it to HOST:PORT"
        )
    try:
        with closing(HTTPConnection(*reachable_at(listen), timeout=timeout)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read(_MOST_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        raise RecorderUnavailable(
            f"no recorder answers at {listen} ({_why(error)}): see that it runs and that its http.listen "
            "is the same"
        ) from None


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _readiness(answer: tuple[int, str]) -> Mapping[str, Any]:
    """Return the checks of `/readyz`; refuse a response that is not a recorder's."""
    status, body = answer
    try:
        found = json.loads(body)
        ready, checks = (
            found["ready"],
            [
                {key: str(check[key]) for key in ("name", "detail", "remedy")}
                | {"ok": check["ok"] is True}
                for check in found["checks"]
            ],
        )
        if status not in _READY or ready is not (status == 200):
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise RecorderError(
            f"what answers is no recorder (HTTP {status}): see what listens at http.listen"
        ) from None
    return {"ready": ready, "checks": checks}


def _show_checks(screen: "Screen", checks: Sequence[Mapping[str, Any]]) -> None:
    ready = all(check["ok"] for check in checks)
    screen.heading("ready" if ready else "not ready", "green" if ready else "red")
    for check in checks:
        mark = ("ok   ", "green") if check["ok"] else ("FAIL ", "bold red")
        screen.line(mark, f"{check['name']:10}", check["detail"])
        if not check["ok"]:
            screen.line((check["remedy"], "yellow"), indent=5)
