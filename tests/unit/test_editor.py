"""A text that is edited in the user's own editor."""

import pytest

from jarvis_recorder.cli.editor import edited
from jarvis_recorder.errors import RecorderError


@pytest.fixture
def editor(tmp_path, monkeypatch):
    """Make the editor a script of the shell, whose first argument is the file."""

    def editor(script):
        path = tmp_path / "editor"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        monkeypatch.setenv("VISUAL", str(path))

    return editor


@pytest.mark.parametrize("text", ["a\r\nb\rc\n", "grün", ""])
def test_a_text_that_is_left_alone_comes_back_unchanged(editor, text):
    editor("true")

    assert edited(text, "letter.json") == text


def test_a_text_is_as_the_editor_saves_it(editor):
    editor("printf 'gr\\303\\274n\\r\\n' > \"$1\"")

    assert edited("blue", "letter.json") == "grün\r\n"


@pytest.mark.parametrize("script", ["printf 'gr\\374n' > \"$1\"", "false"])
def test_an_editor_that_saves_no_text_or_fails_is_named(editor, script, tmp_path):
    editor(script)

    with pytest.raises(RecorderError, match=str(tmp_path / "editor")):
        edited("blue", "letter.json")
