"""The page's modules in a browser, and answers that a recorder would give."""

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from mimetypes import guess_type
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Page, Route

import jarvis_recorder

STATIC = Path(jarvis_recorder.__file__).parent / "gateway" / "static"
EMPTY = """<!doctype html>
<link rel="stylesheet" href="/static/style.css">
<main id="main"></main><p id="said" role="status"></p>"""
# What `caller` reads of a token: its bearer may change everything.
TOKEN = "e30.eyJyb2xlIjoib3BlcmF0b3IifQ.e30"

VIEWS = """async ([module, name, path, address = ""]) => {
    const { [name]: view } = await import(`/static/js/${module}.js`);
    const main = document.querySelector("main");
    view(main, new URLSearchParams(address), new AbortController().signal, path);
}"""
EVENTS = """async (address) => {
    const { events } = await import("/static/js/views/events.js");
    const main = document.querySelector("main");
    const update = events(main, new URLSearchParams(address), new AbortController().signal);
    window.choose = (address) => {
        location.hash = `#/events?${address}`;
        update(new URLSearchParams(address));
    };
}"""
PUBLISHED = """async ([name, detail]) => {
    const { live } = await import("/static/js/live.js");
    live.dispatchEvent(new CustomEvent(name, { detail }));
}"""
# What was asked for before has been seen by its answer.
ASKED = "fetch('/api/nothing')"


class Answers:
    """The answers to the page's requests, by path: `/api/…` to what makes one of its query."""

    def __init__(self) -> None:
        self.by_path: dict[str, Callable[[dict[str, list[str]]], Any]] = {}

    async def __call__(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        if url.path == "/":
            await route.fulfill(body=EMPTY, content_type="text/html")
        elif url.path.startswith("/static/"):
            file = STATIC / url.path.removeprefix("/static/")
            kind = guess_type(file)[0]
            await route.fulfill(body=file.read_bytes(), content_type=kind or "text/plain")
        elif url.path in self.by_path:
            body = self.by_path[url.path](parse_qs(url.query))
            await route.fulfill(body=json.dumps(body), content_type="application/json")
        else:
            await route.fulfill(status=HTTPStatus.NOT_FOUND, body="{}")


async def hold_back(page: Page, path: str, body: Any) -> asyncio.Event:
    """Have the answers of a path wait; return what lets them go when it is set."""
    let_go = asyncio.Event()

    async def answer(route: Route) -> None:
        await let_go.wait()
        await route.fulfill(json=body)

    await page.route(path, answer)
    return let_go
