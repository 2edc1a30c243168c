"""Everything that can go wrong, named by who acts next."""

from typing import ClassVar


class RecorderError(Exception):
    """
    The root of all errors raised on purpose; `exit_code` is what the command line ends with.

    `code`, `path` and `hint` are those of a recorder's answer, where the error came as one:
    the JSON-RPC code, the parameter it lies in, and what to do.
    """

    exit_code: ClassVar[int] = 1
    code: int | None = None
    path: str = ""
    hint: str = ""


class ConfigurationError(RecorderError):
    """Somebody has to change a setting, a file or a right; trying again cannot help."""

    exit_code = 78


class BrokerUnavailable(RecorderError):
    """The broker cannot be reached or has gone away; connect again later."""

    exit_code = 69


class LostAtStart(BrokerUnavailable):
    """
    The broker went away before all queues were consumed.

    It may have choked on a message that it cannot deliver, and gives that up only when it has
    tried often enough: connect again at once.
    """


class NotConfirmed(RecorderError):
    """The broker did not take a message over; publish it again later."""

    exit_code = 69


class Undeliverable(RecorderError):
    """
    The broker closes the connection on a message that is next in its queue.

    `position` is its place among those that were there, from 1 on. Nothing behind it can be
    reached until it is gone.
    """

    def __init__(self, position: int, waiting: int, error: str) -> None:
        super().__init__(error)
        self.position = position
        self.waiting = waiting


class MessageTooLarge(RecorderError):
    """The message with its added headers does not fit what the broker takes."""


class AnotherRecorder(RecorderError):
    """Another process holds the database; the message says which."""

    exit_code = 75


class StorageUnavailable(RecorderError):
    """
    The database cannot take anything now: locked, full, read-only, an I/O error.

    Nothing of the failed call is stored. Try the same records again later.
    """

    exit_code = 69


class StorageUncertain(RecorderError):
    """
    A sync to disk failed: whether the transaction is stored cannot be known.

    Ack nothing, end the process, and let a new one insert the same rows again.
    """


class StorageDamaged(RecorderError):
    """The database file is corrupt; only a person can decide what to do with it."""


class StorageMoved(StorageDamaged):
    """The database file was moved or replaced while it was recorded into; as good as corrupt."""


class NoRoom(RecorderError):
    """A disk has too little room for what was asked; everything is as it was."""


class NoCopy(RecorderError):
    """The copy could not be made, or is not what it should be; the database is as it was."""


class RecordRefused(RecorderError):
    """The database refuses a record among those given; split and try the halves."""


class NotFound(RecorderError):
    """What was asked for is not there; the message says what."""


class Conflict(RecorderError):
    """
    Something else is stored than the caller took for granted; the message says what.

    Nothing is changed. Read it again and decide anew.
    """


class InvalidParameter(RecorderError):
    """A parameter is wrong, and `path` names it; ask something else."""

    def __init__(self, path: str, error: str) -> None:
        super().__init__(error)
        self.path = path


class DeadlineExceeded(RecorderError):
    """
    The answer would have come too late; the work on it has ended.

    A change that was asked for has not been made.
    """


class OutcomeUnknown(RecorderError):
    """The time was over while a change was being made: read whether it is before asking again."""


class Forbidden(RecorderError):
    """The broker's user may not ask this; an administrator of the recorder can allow it."""


class ResultTooLarge(RecorderError):
    """The answer would not fit one message; ask for less, and the rest by its cursor."""


class MoreRoomNeeded(ResultTooLarge):
    """A record is larger than the room its answer was given; it is there, given more of it."""


class RecorderUnavailable(RecorderError):
    """
    The broker is there but no recorder that could answer or record; ask or publish again later.

    Nothing is changed, and nothing is recorded.
    """

    exit_code = 69


class ReplyTimeout(RecorderError):
    """
    No answer came in time.

    Whether a change that was asked for has been made is unknown: read before asking again.
    """

    exit_code = 69


class ProtocolError(RecorderError):
    """Recorder and client do not understand each other: a defect, or versions that do not fit."""
