"""The errors raised on purpose; each says who acts next."""

import traceback
from pathlib import PurePath
from typing import ClassVar


class RecorderError(Exception):
    """
    The base of all errors raised on purpose; `exit_code` is the command line's exit code.

    `code`, `path` and `hint` are set if a recorder replied with this error: the JSON-RPC
    code, the parameter at fault, and the recorder's advice.
    """

    exit_code: ClassVar[int] = 1
    code: int | None = None
    path: str = ""
    hint: str = ""


class ConfigurationError(RecorderError):
    """
    A setting, a file or a permission has to be changed; trying again cannot help.

    From a broker that let us in before it may pass, and is tried again: see `supervise`.
    """

    exit_code = 78


class AddressUnavailable(RecorderError):
    """The machine does not have the address to listen on yet, as at its start; try again later."""

    exit_code = 69


class BrokerUnavailable(RecorderError):
    """The broker cannot be reached or closed the connection; connect again later."""

    exit_code = 69


class LostAtStart(BrokerUnavailable):
    """
    The broker went away before all queues were consumed.

    It may have failed on a message that it cannot deliver, and gives up on that message only
    after several attempts: connect again at once.
    """


class NotConfirmed(RecorderError):
    """The broker did not confirm a message; publish it again later."""

    exit_code = 69


class Undeliverable(RecorderError):
    """
    The broker closes the connection instead of delivering the next message of a queue.

    `position` is the message's place in the queue, counted from 1. The messages behind it
    cannot be reached until it is gone.
    """

    def __init__(self, position: int, waiting: int, error: str) -> None:
        super().__init__(error)
        self.position = position
        self.waiting = waiting


class MessageTooLarge(RecorderError):
    """The message with its added headers exceeds what the broker accepts."""


class AnotherRecorder(RecorderError):
    """Another process holds the database; the message says which."""

    exit_code = 75


class StorageUnavailable(RecorderError):
    """
    The database cannot be written or read now: locked, full, read-only, an I/O error.

    Nothing of the failed call is stored. Try the same records again later.
    """

    exit_code = 69


class NotTried(StorageUnavailable):
    """
    A call made before this one has failed, so that this one was not begun.

    Make both again in their order: this one alone would be stored before the other.
    """


class StorageUncertain(RecorderError):
    """
    A sync to disk failed: the transaction may or may not be stored.

    Ack nothing, end the process, and let a new one insert the same rows again.
    """


class StorageDamaged(RecorderError):
    """The database file is corrupt; only a person can decide what to do with it."""


class StorageMoved(StorageDamaged):
    """The database file was moved or replaced while in use; handle it as corrupt."""


class NoRoom(RecorderError):
    """A disk has too little free space for the operation; nothing is changed."""


class NoCopy(RecorderError):
    """The copy could not be made, or failed its check; the database is unchanged."""


class RecordRefused(RecorderError):
    """One of the records breaks a constraint; split and try the halves."""


class NotFound(RecorderError):
    """The requested object does not exist; the message names it."""


class Conflict(RecorderError):
    """
    The stored state is not the one that the caller expected; the message says how.

    Nothing is changed. Read it again, then decide again.
    """


class InvalidParameter(RecorderError):
    """A parameter is invalid, and `path` names it; the caller has to change the request."""

    def __init__(self, path: str, error: str) -> None:
        super().__init__(error)
        self.path = path


class DeadlineExceeded(RecorderError):
    """
    The result would have come too late; the work on it has ended.

    A requested change has not been made.
    """


class OutcomeUnknown(RecorderError):
    """
    No one can say whether a change is made: read it before trying again.

    The deadline passed meanwhile, the connection was lost, or no standby of the database has it.
    """


class Forbidden(RecorderError):
    """The broker user may not call this method; an administrator of the recorder can allow it."""


class ResultTooLarge(RecorderError):
    """The result does not fit one message; request less, as `hint` says, or the rest by its cursor."""

    def __init__(self, text: str = "", hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class MoreRoomNeeded(ResultTooLarge):
    """A record exists but exceeds the room given for its result; call again with more."""


class RecorderUnavailable(RecorderError):
    """
    The broker is up, but no recorder consumes from it; send or publish again later.

    Nothing is changed, and nothing is recorded.
    """

    exit_code = 69


class ReplyTimeout(RecorderError):
    """
    No reply came in time.

    A requested change may or may not have been made: read before trying again.
    """

    exit_code = 69


class ProtocolError(RecorderError):
    """Recorder and client disagree on the protocol: a defect, or incompatible versions."""


def defect(error: BaseException) -> str:
    """
    Return the class of an error that no one expects, and the place it comes from, for the log.

    Its text is left out: it may repeat what was recorded.
    """
    name = type(error).__name__
    if not (frames := traceback.extract_tb(error.__traceback__)):
        return name
    last = frames[-1]
    return f"{name} in {PurePath(last.filename).name}:{last.lineno}, {last.name}"
