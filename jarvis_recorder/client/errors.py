"""Exceptions that the caller gets for a refusal; each says who acts next."""

from collections.abc import Iterable
from typing import Final

import aiormq
from pydantic import ValidationError

from jarvis_recorder.errors import (
    BrokerUnavailable,
    ConfigurationError,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InvalidParameter,
    NotFound,
    ProtocolError,
    RecorderError,
    RecorderUnavailable,
    ReplyTimeout,
    ResultTooLarge,
)
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.wire.rpc.jsonrpc import Code, RpcError
from jarvis_recorder.wire.validation import first_error

NO_RECORDER: Final = (
    "no recorder has ever run on this broker: start `jarvis-recorder run`, "
    "or look whether the URL names the right virtual host"
)


class NotSent(BrokerUnavailable):
    """The connection was gone before anything went out on it; send it on the next one."""


_BY_CODE: Final[dict[int, type[RecorderError]]] = {
    Code.NOT_FOUND: NotFound,
    Code.CONFLICT: Conflict,
    Code.FORBIDDEN: Forbidden,
    Code.DEADLINE_EXCEEDED: DeadlineExceeded,
    Code.UNAVAILABLE: RecorderUnavailable,
    Code.RESULT_TOO_LARGE: ResultTooLarge,
    Code.OUTCOME_UNKNOWN: ReplyTimeout,
}


def refused(error: RpcError, method: str) -> RecorderError:
    """Return the exception for an error that came as a response."""
    where = f"{method}: {error.path}: " if error.path else f"{method}: "
    text = where + error.message + (f" ({error.hint})" if error.hint else "")
    refusal: RecorderError
    if error.code == Code.INVALID_PARAMS:
        refusal = InvalidParameter(error.path, text)
    else:
        refusal = _BY_CODE.get(error.code, ProtocolError)(text)
    refusal.code, refusal.path, refusal.hint = error.code, error.path, error.hint
    return refusal


def invalid(error: ValidationError) -> InvalidParameter:
    """Return the exception for a value that the rules refuse; it never repeats the value."""
    first = first_error(error)
    return InvalidParameter(first.path, str(first))


def addresses(url: str, also: Iterable[str] = ()) -> Addresses:
    """
    Return the addresses of a broker.

    Raises:
        ConfigurationError: One of them names none.
    """
    try:
        return Addresses(url, also)
    except ValueError as error:
        raise ConfigurationError(f"the broker's URL {error}") from None


def lost(channel: aiormq.abc.AbstractChannel) -> RecorderError:
    """Return the exception for a caller that was waiting on a channel when it ended."""
    closing = channel.closing
    cause = closing.exception() if closing.done() and not closing.cancelled() else None
    match cause:
        case aiormq.exceptions.ChannelNotFoundEntity():
            return RecorderUnavailable(NO_RECORDER)
        case aiormq.exceptions.ChannelAccessRefused():
            return ConfigurationError(
                f"{cause}: an administrator of the broker grants what is missing"
            )
        case aiormq.exceptions.ChannelPreconditionFailed():
            return ConfigurationError(f"the broker refuses the message: {cause}")
    return BrokerUnavailable("the connection to the broker was lost")


def unsent(channel: aiormq.abc.AbstractChannel) -> RecorderError:
    """Return the exception as `lost` does, for a message that was never sent on the channel."""
    error = lost(channel)
    return NotSent(*error.args) if isinstance(error, BrokerUnavailable) else error
