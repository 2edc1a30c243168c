"""The page's files: a browser fetches each once, and again only where it has changed."""

import functools
import hashlib
import posixpath
import re
from pathlib import Path
from typing import Final

import anyio.to_thread
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC: Final = Path(__file__).parent / "static"
_INDEX: Final = STATIC / "index.html"
_FIRST: Final = "js/main.js"
_IMPORTED: Final = re.compile(
    r'^(?:import|\} from|export .* from)\b[^"\n]*"(\.[^"]+)";$', re.MULTILINE
)
# No file of the page begins like this.
_MARK: Final = "v-"
_KEPT: Final = "public, max-age=31536000, immutable"


class Page(StaticFiles):
    """
    The page's files, also below a path that names their content: `v-DIGEST/…`.

    A browser keeps what it gets below the present digest and does not ask for it again. Where any
    file has changed, the next index names another path. Below any other digest, and without one,
    the files are the same and are requested again: another gateway may still have the files of
    before.
    """

    def __init__(self) -> None:
        super().__init__(directory=STATIC)
        self._mark = ""

    async def index(self) -> Response:
        """Return the document, which names every module of the first view at once."""
        text, self._mark = await anyio.to_thread.run_sync(lambda: _written(_state()))
        return HTMLResponse(text)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file of a path, with or without a digest."""
        mark, _, rest = path.partition("/")
        if not mark.startswith(_MARK):
            return await super().get_response(path, scope)
        response = await super().get_response(rest, scope)
        if mark == self._mark:
            response.headers["cache-control"] = _KEPT
        return response


def _state() -> tuple[tuple[Path, int, int], ...]:
    """Return the page's files with the time and size of each: the same until one is changed."""
    files = (file for file in sorted(STATIC.rglob("*")) if "swagger-ui" not in file.parts)
    known = ((file, file.stat()) for file in files if file.is_file())
    return tuple((file, found.st_mtime_ns, found.st_size) for file, found in known)


@functools.lru_cache(maxsize=1)
def _written(state: tuple[tuple[Path, int, int], ...]) -> tuple[str, str]:
    """Return the document of files in this state, and the mark that its paths have."""
    digest = hashlib.sha256()
    for file, _, _ in state:
        digest.update(str(file.relative_to(STATIC)).encode() + b"\0" + file.read_bytes())
    mark = f"{_MARK}{digest.hexdigest()[:16]}"
    # Without them a browser learns of a module only from one that imports it: a round trip each.
    preloads = "".join(
        f'    <link rel="modulepreload" href="static/{module}" />\n' for module in first_modules()
    )
    text = _INDEX.read_text(encoding="utf-8").replace("  </head>", f"{preloads}  </head>")
    return text.replace('"static/', f'"static/{mark}/'), mark


def first_modules() -> list[str]:
    """Return the modules that the first one imports, directly or not, itself not among them."""
    found = [_FIRST]
    for module in found:
        for path in _IMPORTED.findall((STATIC / module).read_text(encoding="utf-8")):
            imported = posixpath.normpath(posixpath.join(posixpath.dirname(module), path))
            if imported not in found:
                found.append(imported)
    return found[1:]
