"""Docstrings begin with a noun phrase or an imperative."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
THIRD_PERSON = re.compile(
    r"(?:Answers|Asks|Checks|Deletes|Exports|Formats|Implements|Keeps|Makes|Notifies|Probes|Prunes"
    r"|Publishes|Reads|Returns|Runs|Says|Sends|Serves|Shows|Stores|Traces|Verifies|Watches|Wraps"
    r"|Writes)\b"
)
ROOMS = ("jarvis_recorder", "tests", "bench", "tools")
FIRST_WORD = re.compile(r"(What|Who|Where|How|When|Whether|Whatever|Whoever)\b")


def test_no_docstring_begins_with_a_question_word():
    paths = sources()
    found = [
        line
        for path in paths
        for line in faults(path.relative_to(ROOT), path.read_text(encoding="utf-8"))
    ]

    assert Path(__file__) in paths
    assert not found, "begin with a noun phrase or an imperative:\n" + "\n".join(found)


def test_a_question_word_is_found_in_every_place_of_a_docstring():
    text = '"""How it is."""\nX = 1\n"""\nWhat X is.\n"""\ndef f():\n    """Whether it is."""\n'

    assert faults(Path("a.py"), text) == [
        "a.py:1: How it is.",
        "a.py:3: What X is.",
        "a.py:7: Whether it is.",
    ]


def test_a_longer_word_is_none():
    assert not faults(Path("a.py"), '"""Whole rows, as `What` names them."""\n')


def test_no_class_docstring_begins_with_what_the_class_does():
    """It begins with a noun phrase, as in "A writer that …"."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {docstring.splitlines()[0]}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and (docstring := ast.get_docstring(node))
        and THIRD_PERSON.match(docstring)
    ]

    assert not found, "begin with a noun phrase:\n" + "\n".join(found)


def sources() -> list[Path]:
    """Return the Python files of the repository, also the scripts without a suffix."""
    return sorted(
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if not any(map(is_foreign, path.relative_to(ROOT).parts)) and is_python(path)
    )


def is_foreign(part: str) -> bool:
    """Return whether a directory holds installed or generated files, such as bench/.venv."""
    return part.startswith(".") or part in {"__pycache__", "node_modules", "results"}


def is_python(path: Path) -> bool:
    if path.suffix or not path.is_file():
        return path.suffix == ".py"
    return path.read_bytes()[:64].startswith(b"#!/usr/bin/env python")


def faults(path: Path, text: str) -> list[str]:
    """Return file, line and first line of each docstring that begins with a question word."""
    return [
        f"{path}:{line}: {docstring.splitlines()[0]}"
        for line, docstring in docstrings(ast.parse(text))
        if FIRST_WORD.match(docstring)
    ]


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string that is a statement, those of constants included."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(lineno=line, value=ast.Constant(value=str(text))):
                yield line, text.strip()
