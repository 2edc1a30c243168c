"""The first error of a validation, in words that never repeat the value."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

# Tags of the union of a value and a list of values: no part of a path that a caller knows.
ONE: Final = "(one)"
LIST: Final = "(list)"


class FieldError(NamedTuple):
    """The path of an error, empty for the whole value, and what is wrong there."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


def first_error(error: ValidationError) -> FieldError:
    """Return the first of the errors that pydantic found."""
    return errors_of(error)[0]


def errors_of(error: ValidationError) -> Sequence[FieldError]:
    """Return all errors that pydantic found, in its order."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return [field_error(one) for one in found]


def field_error(details: Any, *, skipped: int = 0) -> FieldError:
    """Return an error from pydantic's details of it, without the first parts of its path."""
    text = str(details["msg"]).removeprefix("Value error, ")
    return FieldError(_path(details["loc"][skipped:]), text)


def _path(location: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in location if part not in (ONE, LIST))
