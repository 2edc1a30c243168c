"""The identity of a message: messages with the same one are the same, and recorded once."""

from typing import Any, Final

from jarvis_recorder.wire.refusal import Reason, Refused

NIL: Final = "00000000-0000-0000-0000-000000000000"
"""The UUID (RFC 9562, section 5.9) of .NET and Go for an identity that was never set."""
MAX_CHARACTERS: Final = 1_024
# A row of PostgreSQL's index has 2,704 bytes, with the time or the name of the table.
_MAX_BYTES: Final = 2_500


def is_unset(identity: Any) -> bool:
    """Say if this stands for an identity that was never set: nothing, a zero, the nil UUID."""
    return identity in (None, "", NIL) or (type(identity) is int and identity == 0)


def first_given(
    of_properties: str | None,
    of_cloud_event: str | None,
    of_body: str | None,
    of_place_in_batch: str | None,
) -> str | None:
    """
    Return the first identity that is given, None if there is none.

    Raises:
        Refused: It is too long, or no database can hold it.
    """
    identity = of_properties or of_cloud_event or of_body or of_place_in_batch
    if identity is not None and (
        len(identity) > MAX_CHARACTERS or len(identity.encode()) > _MAX_BYTES or "\0" in identity
    ):
        raise Refused(
            Reason.INVALID,
            f"the identity holds a NUL character or more than {MAX_CHARACTERS} characters or"
            f" {_MAX_BYTES} bytes",
        )
    return identity
