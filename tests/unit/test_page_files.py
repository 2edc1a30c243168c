"""The page's files below a path that names their content."""

import re

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from jarvis_recorder.gateway import page as page_files

KEPT = "public, max-age=31536000, immutable"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A page of two modules that may be changed."""
    (tmp_path / "js").mkdir()
    (tmp_path / "index.html").write_text(
        '<head>\n<script src="static/js/main.js"></script>\n  </head>'
    )
    (tmp_path / "js" / "main.js").write_text('import { h } from "./dom.js";\n')
    (tmp_path / "js" / "dom.js").write_text("export const h = 1;\n")
    monkeypatch.setattr(page_files, "STATIC", tmp_path)
    monkeypatch.setattr(page_files, "_INDEX", tmp_path / "index.html")
    return tmp_path


@pytest.fixture
async def served(files):
    page = page_files.Page()
    application = Starlette(routes=[Mount("/static", page)])
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        yield page, client


async def _paths(page):
    return re.findall(r'"(static/[^"]+)"', (await page.index()).body.decode())


async def test_what_the_document_names_is_kept_until_it_changes(served, files):
    page, client = served
    script, preload = await _paths(page)
    assert (await client.get(script)).headers["cache-control"] == KEPT
    assert (await client.get(preload)).text == "export const h = 1;\n"

    (files / "js" / "dom.js").write_text("export const h = 22;\n")

    changed, preload = await _paths(page)
    assert changed != script
    assert (await client.get(preload)).text == "export const h = 22;\n"


@pytest.mark.parametrize("mark", ["", "v-0123456789abcdef/", "v-/"])
async def test_another_path_has_the_same_files_and_is_asked_for_anew(served, mark):
    page, client = served
    await page.index()

    found = await client.get(f"/static/{mark}js/dom.js")

    assert found.text == "export const h = 1;\n"
    assert "cache-control" not in found.headers


@pytest.mark.parametrize("path", ["v-1/../../page.py", "v-1//etc/passwd", "v-1", "v-1/", "v-1/js"])
async def test_no_path_leads_out_of_the_page(served, path):
    _, client = served

    assert (await client.get(f"/static/{path}")).status_code == 404


def test_every_module_of_the_first_view_is_named():
    modules = page_files.first_modules()

    assert "js/views/now.js" in modules
    assert "js/views/events.js" not in modules
    assert all((page_files.STATIC / module).is_file() for module in modules)
