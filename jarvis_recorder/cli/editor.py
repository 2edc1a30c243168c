"""Text edited by the user in their own editor."""

import os
import shlex
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from jarvis_recorder.errors import RecorderError


def edited(text: str, name: str) -> str:
    """
    Open the text in $VISUAL, $EDITOR or vi, in a file of this name, and return it as saved.

    Raises:
        RecorderError: There is no such editor, it failed, or saved no text; nothing was changed.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    # Only the owner can enter the directory, so no one else can read the file in it.
    with TemporaryDirectory(prefix="jarvis-recorder-") as directory:
        file = Path(directory, name)
        # As bytes, so that line breaks stay as they are.
        file.write_bytes(text.encode())
        try:
            subprocess.run([*shlex.split(editor), str(file)], check=True)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise RecorderError(f"{editor}: {error}: set EDITOR to one that works") from None
        try:
            return file.read_bytes().decode()
        except UnicodeDecodeError:
            raise RecorderError(f"{editor} saved no UTF-8; nothing was changed") from None
