"""
JSON-RPC 2.0: requests in, responses out, and the same from the caller's side.

Source: the JSON-RPC 2.0 specification (jsonrpc.org/specification). Pure: no I/O, and every
body, whatever its bytes, is a list of calls or faults.
"""

import zlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from enum import IntEnum
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from jarvis_recorder.wire.refusal import Reason, Refused
from jarvis_recorder.wire.rpc.methods import BY_NAME, BY_PARAMS, METHODS, Method, adapter
from jarvis_recorder.wire.rpc.params import Params, RecordEvent
from jarvis_recorder.wire.strict_json import parse
from jarvis_recorder.wire.validation import first_error

MAX_BATCH: Final = 100
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
MAX_REPLY_BYTES: Final = 1024 * 1024
"""The most bytes of a reply, unless one record is larger."""
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024 - 64 * 1024
"""The largest result sent uncompressed: RabbitMQ accepts 16 MiB from 4.0 on."""
_GZIP: Final = zlib.MAX_WBITS | 16
_FASTEST: Final = 1
_LONGEST_PATH: Final = 64


def _lists_of_objects(shape: type[Any]) -> dict[str, Any]:
    """Return the fields of a class that are lists of objects, and the class of these."""
    found = {}
    for field in fields(shape):
        kind: Any = field.type
        if get_origin(kind) is Annotated:
            kind, *_ = get_args(kind)
        if get_origin(kind) is list and is_dataclass(of := get_args(kind)[0]):
            found[field.name] = of
    return found


_LISTS_OF_OBJECTS: Final = {
    method.params: found for method in METHODS if (found := _lists_of_objects(method.params))
}


class Code(IntEnum):
    """The error codes; from -32001 on they are the recorder's own."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    NOT_FOUND = -32001
    CONFLICT = -32002
    FORBIDDEN = -32003
    DEADLINE_EXCEEDED = -32004
    UNAVAILABLE = -32005
    RESULT_TOO_LARGE = -32006
    OUTCOME_UNKNOWN = -32007


class RpcError(Exception):
    """An error as the caller gets it: `path` is the field it lies in, `hint` what to do next."""

    def __init__(self, code: int, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.hint = hint


class Call(NamedTuple):
    """One request of a body; a notification gets no reply, and its method may be unknown."""

    id: Any
    is_notification: bool
    method: Method | None
    params: Any


class Malformed(NamedTuple):
    """A value that is no request; the reply is its error, with its id if it has one."""

    id: Any
    error: RpcError


class Calls(NamedTuple):
    """The requests of a body; the reply to a batch is an array, even if it holds one."""

    calls: Sequence[Call | Malformed]
    is_batch: bool


def parse_calls(body: bytes) -> Calls:
    """Return the requests of a body; never raises."""
    try:
        document = parse(body)
    except Refused as refused:
        return unreadable(_unparsable(refused))
    if not isinstance(document, list):
        return Calls([_call(document)], is_batch=False)
    if not 0 < len(document) <= MAX_BATCH:
        return unreadable(_invalid(f"a batch holds 1 to {MAX_BATCH} requests", "split it"))
    return Calls([_call(element) for element in document], is_batch=True)


def too_large_request() -> RpcError:
    """Return the error of a body that is too large to be read."""
    return _invalid(f"a request has at most {MAX_REQUEST_BYTES} bytes", "split it")


def unreadable(error: RpcError) -> Calls:
    """Return the calls of a body that cannot be read: its error alone, without an id."""
    return Calls([Malformed(None, error)], is_batch=False)


def wants_no_reply(calls: Calls) -> bool:
    """Return whether a body holds notifications only."""
    return all(isinstance(call, Call) and call.is_notification for call in calls.calls)


def _unparsable(refused: Refused) -> RpcError:
    if refused.reason is Reason.NOT_JSON:
        return RpcError(Code.PARSE_ERROR, refused.error, hint="send one JSON text in UTF-8")
    if refused.reason is Reason.TOO_LARGE:
        return _invalid(refused.error, "split it")
    return _invalid(refused.error, "send JSON that all readers agree on (RFC 7493)")


def _invalid(message: str, hint: str = "", path: str = "") -> RpcError:
    return RpcError(Code.INVALID_REQUEST, message, path=path, hint=hint)


def _call(document: Any) -> Call | Malformed:
    if not isinstance(document, dict):
        return Malformed(None, _invalid("a request must be a JSON object"))
    identity = document.get("id")
    if isinstance(identity, bool | list | dict):
        return Malformed(None, _invalid("must be a string, a number or null", path="id"))
    if document.get("jsonrpc") != "2.0":
        return Malformed(identity, _invalid('must be "2.0"', path="jsonrpc"))
    method = document.get("method")
    if not isinstance(method, str):
        return Malformed(identity, _invalid("must be a text", path="method"))
    params = document.get("params", {})
    if not isinstance(params, dict | list):
        return Malformed(identity, _invalid("must be an object or an array", path="params"))
    return Call(identity, "id" not in document, BY_NAME.get(method), params)


def unknown_method() -> RpcError:
    """Return the error of a call whose method is not known."""
    return RpcError(
        Code.METHOD_NOT_FOUND,
        "there is no such method",
        path="method",
        hint="ask rpc.discover for all of them",
    )


def read_params(method: Method, params: Any) -> Params[Any]:
    """
    Return the validated params of a method, given by name or by position.

    Raises:
        RpcError: `INVALID_PARAMS`, naming the field and never its value.
    """
    if isinstance(params, list):
        params = _by_name(method, params)
    _refuse_many(method, params)
    try:
        request: Params[Any] = adapter(method.params).validate_python(params)
    except ValidationError as error:
        first = first_error(error)
        raise RpcError(
            Code.INVALID_PARAMS,
            first.text,
            path=first.path,
            hint=f"see {method.name} in rpc.discover",
        ) from None
    return request


def _refuse_many(method: Method, params: dict[str, Any]) -> None:
    """Refuse thousands of unknown names by the first: pydantic would describe each."""
    unknown = None if method.params is RecordEvent else _unknown_of_many(method.params, params)
    if unknown is None:
        unknown = _unknown_in_lists(method, params)
    if unknown is not None:
        raise RpcError(
            Code.INVALID_PARAMS,
            "Unexpected keyword argument",
            path=unknown,
            hint=f"see {method.name} in rpc.discover",
        )


def _unknown_in_lists(method: Method, params: dict[str, Any]) -> str | None:
    for name, shape in _LISTS_OF_OBJECTS.get(method.params, {}).items():
        given = params.get(name)
        for index, one in enumerate(given if isinstance(given, list) else ()):
            unknown = _unknown_of_many(shape, one)
            if unknown is not None:
                return f"{name}.{index}.{unknown}"
    return None


def _unknown_of_many(shape: type[Any], given: Any) -> str | None:
    """Return the first unknown name of an object that has far more names than its class."""
    # `fields` would make another tuple for each request.
    known = shape.__dataclass_fields__
    if not isinstance(given, dict) or len(given) <= 2 * len(known) + 2:
        return None
    unknown: str = next(name for name in given if name not in known)
    return unknown[:_LONGEST_PATH]


def _by_name(method: Method, params: list[Any]) -> dict[str, Any]:
    names = [field.name for field in fields(method.params)]
    if len(params) > len(names):
        raise RpcError(
            Code.INVALID_PARAMS,
            f"at most {len(names)} parameters by position",
            hint=f"see {method.name} in rpc.discover",
        )
    return dict(zip(names, params, strict=False))


def write_answer(method: Method, answer: Any) -> bytes:
    """Return the result of a method as JSON."""
    return adapter(method.result).dump_json(answer, by_alias=True)


def response(identity: Any, result: bytes) -> bytes:
    """Return a response that carries a result, given as JSON."""
    return b"".join(_around(identity, result))


def gzip_response(identity: Any, result: bytes) -> bytes:
    """Return the same as `response`, compressed: no broker would accept it uncompressed."""
    packer = zlib.compressobj(_FASTEST, wbits=_GZIP)
    return b"".join([*map(packer.compress, _around(identity, result)), packer.flush()])


def _around(identity: Any, result: bytes) -> tuple[bytes, bytes, bytes]:
    return b'{"jsonrpc":"2.0","result":', result, b',"id":%b}' % to_json(identity)


def error_response(identity: Any, error: RpcError) -> bytes:
    """Return a response that carries an error; its `data` holds the path and the hint."""
    data = {name: value for name, value in (("path", error.path), ("hint", error.hint)) if value}
    told = {"code": int(error.code), "message": error.message, **({"data": data} if data else {})}
    return to_json({"jsonrpc": "2.0", "error": told, "id": identity})


def request(request: Params[Any], identity: str | int) -> bytes:
    """
    Return the request with these params.

    Raises:
        RpcError: `INVALID_PARAMS`: a text holds a NUL character, which the recorder never accepts.
    """
    return b'%b,"id":%b}' % (_call_of(request), to_json(identity))


def notification(request: Params[Any]) -> bytes:
    """Return the request with these params that wants no reply; raises as `request` does."""
    return _call_of(request) + b"}"


def _call_of(request: Params[Any]) -> bytes:
    method = BY_PARAMS[type(request)]
    params = adapter(method.params).dump_json(request, by_alias=True, exclude_defaults=True)
    if b"\\u0000" in params:
        _refuse_nul(params)
    return b'{"jsonrpc":"2.0","method":%b,"params":%b' % (
        to_json(method.name),
        params,
    )


def _refuse_nul(params: bytes) -> None:
    try:
        parse(params)
    except Refused as refused:
        raise RpcError(Code.INVALID_PARAMS, refused.error) from None


def read_response(request: Params[Any], body: bytes) -> Any:
    """
    Return the result that a response to the request carries.

    Raises:
        RpcError: The error that it carries instead; `INTERNAL_ERROR` if it is no response.
    """
    try:
        # Less strictly than a request: what is recorded has passed the strict parser before.
        document = from_json(body)
        if "error" in document:
            raise _rpc_error(document["error"])
        return adapter(BY_PARAMS[type(request)].result).validate_python(document["result"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RpcError(
            Code.INTERNAL_ERROR,
            "the reply is no answer to what was asked",
            hint="is the recorder of a version that fits this client?",
        ) from error


def _rpc_error(error: Any) -> RpcError:
    """Return the error that an error object describes; what `data` holds is each server's own."""
    match error:
        case {"code": int(code), "message": str(message), "data": {**data}}:
            given = {name: data.get(name) for name in ("path", "hint")}
            texts = {name: text for name, text in given.items() if isinstance(text, str)}
            return RpcError(code, message, **texts)
        case {"code": int(code), "message": str(message)}:
            return RpcError(code, message)
    raise ValueError("no error object")
