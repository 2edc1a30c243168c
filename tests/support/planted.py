"""A password that is passed in by every source, and searched for in all output."""

import base64
from pathlib import Path
from urllib.parse import quote

# This part is unchanged by any encoding and decoding.
CORE = "gehe1m"
PASSWORD = f"p@ss:{CORE}/é%20"
USER = "keeper"
QUOTED = quote(PASSWORD, safe="")
SOURCES = ("command line", "environment", "credential", "file")


def planted_url(port: int = 1, *, user: str = USER, rest: str = "") -> str:
    return f"amqp://{user}:{QUOTED}@127.0.0.1:{port}/{rest}"


def given(
    source: str, value: str, directory: Path, setting: str = "broker.url"
) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and the environment by which a source sets a setting."""
    section, _, name = setting.partition(".")
    match source:
        case "command line":
            return ["--set", f"{setting}={value}"], {}
        case "environment":
            return [], {f"JARVIS_RECORDER_{section}__{name}".upper(): value}
        case "credential":
            (directory / setting).write_text(f"{value}\n")
            return [], {"CREDENTIALS_DIRECTORY": str(directory)}
        case _:
            file = directory / "config.toml"
            file.write_text(f'[{section}]\n{name} = "{value}"\n')
            return ["--config", str(file)], {}


def assert_no_secret(*texts: str) -> None:
    """Search for it plain, percent-encoded, and in the base64 and hexadecimal forms of a login."""
    encoded = [
        base64.b64encode(f"{before}{PASSWORD}".encode()).decode().rstrip("=")[4:-2]
        for before in ("", f"{USER}:", f"\0{USER}\0")
    ]
    for text in texts:
        for form in (CORE, CORE.encode().hex(), *encoded):
            assert form not in text, text[max(0, text.index(form) - 300) :][:600]
