"""Standard input as text, decoded as the user's environment says."""

import sys

import typer


def read_text() -> str:
    """
    Return all of standard input, its line breaks as they are.

    Raises:
        typer.BadParameter: It is no text.
    """
    return _decoded(sys.stdin.buffer.read())


def read_line() -> str:
    """Return the first line of standard input without its line break; otherwise as `read_text`."""
    return _decoded(sys.stdin.buffer.readline()).removesuffix("\n").removesuffix("\r")


def _decoded(given: bytes) -> str:
    try:
        return given.decode(sys.stdin.encoding)
    except UnicodeDecodeError:
        raise typer.BadParameter(f"standard input is not {sys.stdin.encoding.upper()}") from None
