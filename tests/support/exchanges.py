"""Strategies for any valid request and any possible result."""

from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import assume
from hypothesis import strategies as st
from pydantic import ValidationError

from jarvis_recorder.wire.measures import MEASURES
from jarvis_recorder.wire.rpc.methods import METHODS
from jarvis_recorder.wire.rpc.params import WaitingLetter

SAFE_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBERS = st.integers(-(2**63), 2**63 - 1)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False, allow_infinity=False)
    | SAFE_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SAFE_TEXT, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
_NAMES = SAFE_TEXT.filter(bool).map(lambda name: name[:255])
_LETTERS = st.from_regex(r"[0-9a-f]{12}", fullmatch=True)
_ROWS = st.integers(1, 2**63 - 1)
_TYPES = st.sampled_from(["alert", "action", "status", "metric"])
_SEVERITIES = st.sampled_from(["info", "warning", "error", "critical"])
_SOURCES = st.sampled_from(["monitor", "user", "jarvis", "system"])
_GIVEN = {
    "type": _TYPES, "severity": _SEVERITIES, "source": _SOURCES, "node": _NAMES, "id": _ROWS,
    "resolved": st.booleans(), "since": MOMENTS, "until": MOMENTS, "timestamp": MOMENTS,
    "text": _NAMES, "query": _NAMES, "cursor": _NAMES, "limit": st.integers(1, 1_000),
    "summary": _NAMES, "details": JSON, "message_id": _NAMES, "key": _NAMES, "prefix": _NAMES,
    "extra": st.dictionaries(SAFE_TEXT, JSON, max_size=3), "resolved_by": _NAMES, "value": _NAMES,
    "updated_by": _NAMES, "expected_version": st.integers(0, 2**63 - 1), "session_id": _NAMES,
    "cluster": _NAMES, "window_seconds": st.integers(1, 86_400),
    "time_zone": st.sampled_from(["UTC", "+02:00", "Europe/Berlin"]),
    "bucket_seconds": st.integers(1, 31_536_000), "min_severity": _SEVERITIES,
    "order": st.sampled_from(["oldest", "newest"]), "around": _ROWS,
    "buckets": st.integers(1, 200), "from_": MOMENTS, "to": MOMENTS,
    "kind": st.sampled_from(["node", "guest", "storage"]), "name": _NAMES,
    "measures": st.lists(st.sampled_from(MEASURES), min_size=1, max_size=3),
    "measure": st.sampled_from(["cpu", "mem", "disk", "used"]),
    "points": st.integers(1, 1_000),
    "tolerance": st.floats(0, 1, allow_subnormal=False),
    "reason": _NAMES, "queue": _NAMES, "fault": _NAMES, "after": _LETTERS, "up_to": _LETTERS,
    "began_seconds_ago": st.floats(0, 86_400, allow_subnormal=False),
    "by": _NAMES, "note": _NAMES,
    "state": st.sampled_from(["open", "acknowledged", "unknown", "silenced", "resolved"]),
    "letters": st.lists(
        st.builds(
            WaitingLetter, id=_LETTERS, reason=_NAMES, error=_NAMES, queue=_NAMES, exchange=_NAMES,
            routing_key=_NAMES, received_at=st.none() | MOMENTS, message_id=st.none() | _NAMES,
            size_bytes=st.integers(0, 2**63 - 1), replays=st.integers(0, 2**63 - 1),
        ),
        max_size=2,
    ),
}  # fmt: skip
_EXCLUDED = st.sampled_from(["type:metric", "severity:info", "source:user", "node:", "cluster:a"])
_FILTERS = {
    name: st.lists(one, min_size=1, max_size=3) | one
    for name, one in {
        "type": _TYPES,
        "severity": _SEVERITIES,
        "source": _SOURCES,
        "node": _NAMES,
        "exclude": _EXCLUDED,
    }.items()
}
_SPECIAL = {
    "events.list": _FILTERS,
    "events.record": {"id": _NAMES},
    "events.histogram": _FILTERS
    | {"by": st.sampled_from(["type", "severity", "source", "node", "cluster"])},
    "incidents.list": _FILTERS | {"kind": _NAMES},
    "incidents.silence": {"kind": _NAMES},
    "conversations.usage": {"by": st.sampled_from(["model", "day", "session"])},
}


@st.composite
def questions(draw: st.DrawFn) -> Any:
    """Draw any request, with all required and some optional parameters."""
    method = draw(st.sampled_from(METHODS))
    strategies = _GIVEN | _SPECIAL.get(method.name, {})
    needed = [field.name for field in fields(method.params) if field.default is MISSING]
    params = {field.name: strategies[field.name] for field in fields(method.params)}
    required = {name: params.pop(name) for name in needed}
    try:
        return method.params(**draw(st.fixed_dictionaries(required, optional=params)))
    except ValidationError as error:
        # Discard parameters that break a rule between two of them.
        assume("Value error" not in str(error))
        raise


@st.composite
def answers(draw: st.DrawFn) -> Any:
    """Draw a method other than `rpc.discover`, and a possible result."""
    method = draw(st.sampled_from([each for each in METHODS if is_dataclass(each.result)]))
    return method, draw(value_of(method.result))


_LEAVES = {
    Any: JSON,
    bool: st.booleans(),
    int: NUMBERS,
    str: SAFE_TEXT,
    float: st.floats(allow_nan=False, allow_infinity=False),
    datetime: MOMENTS,
    Decimal: st.decimals(0, 10**12, places=9),
    NoneType: st.none(),
}


def value_of(shape: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for any value of a type in results."""
    if is_dataclass(shape):
        hints = get_type_hints(shape, include_extras=True)
        return st.builds(shape, **{name: value_of(hint) for name, hint in hints.items()})
    if shape in _LEAVES:
        return _LEAVES[shape]
    parts = get_args(shape)
    match get_origin(shape):
        case origin if origin is Annotated:
            return value_of(parts[0])
        case origin if origin in (Union, UnionType):
            return st.one_of(*map(value_of, parts))
        case origin if origin is Literal:
            return st.sampled_from(parts)
        case origin if origin is list:
            return st.lists(value_of(parts[0]), max_size=2)
        case origin if origin is tuple:
            return st.tuples(*map(value_of, parts))
        case origin if origin is dict:
            return st.dictionaries(SAFE_TEXT, value_of(parts[1]), max_size=2)
    raise TypeError(shape)
