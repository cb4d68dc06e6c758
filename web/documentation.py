"""The API documentation: two pages that load their viewers, Swagger UI and ReDoc, from this server.

Their links are relative, so that they work behind a proxy that adds a path prefix. The viewers'
files come from the package fastapi-standalone-docs. The package's own functions are not used: they
patch FastAPI for the whole process and put inline scripts into the pages. documentation.css and
documentation.js complete the viewers' contrasts, names of controls and keyboard access.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

_FILES = Path(str(files("fastapi_standalone_docs"))) / "static"
_CSS, _SCRIPT = "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_OWN = {
    "triseal.css": (Path(__file__).with_suffix(".css").read_text(), _CSS),
    "triseal.js": (Path(__file__).with_suffix(".js").read_text(), _SCRIPT),
}
"""The text and media type of the files that both pages have, by name."""


@dataclass(frozen=True)
class Viewer:
    """A page that shows the OpenAPI document: its path, its files, and the script that starts it.

    `files` are the media types of the files in the package's `folder`, by name. `root` is the
    element in which the viewer draws: a landmark if the viewer draws none.
    """

    page: str
    folder: str
    files: Mapping[str, str]
    start: str
    root: str = "div"

    @property
    def name(self) -> str:
        """The last part of the page's path, relative to which browsers resolve its links."""
        return self.page[1:]

    @property
    def paths(self) -> tuple[str, ...]:
        """The page and the files that it loads, except for the OpenAPI document."""
        return (self.page, *(f"{self.page}/{name}" for name in ("start.js", *_OWN, *self.files)))

    @property
    def html(self) -> str:
        """The page."""
        styles = "".join(
            f'<link rel="stylesheet" href="{self.name}/{name}">\n'
            for name in (*self.files, *_OWN)
            if name.endswith(".css")
        )
        scripts = "".join(
            f'<script src="{self.name}/{name}"></script>\n'
            for name in (*self.files, *_OWN, "start.js")
            if name.endswith(".js")
        )
        return _HTML.format(styles=styles, scripts=scripts, root=self.root)


_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Triseal: the HTTP API</title>
<link rel="icon" href="data:,">
{styles}</head>
<body>
<noscript>This page needs JavaScript; openapi.json has the same content.</noscript>
<{root} id="api"></{root}>
{scripts}</body>
</html>
"""
SWAGGER_UI = Viewer(
    "/docs",
    "swagger",
    {"swagger-ui.css": _CSS, "swagger-ui-bundle.js": _SCRIPT},
    # Without `validatorUrl: null`, the viewer sends the document's URL to a third-party validator.
    """"use strict";
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
""",
)
REDOC = Viewer(
    "/redoc",
    "redoc",
    {"redoc.standalone.js": _SCRIPT, "logo-mini.svg": "image/svg+xml"},
    # The search would start a worker from a blob, which the pages' policy does not allow.
    """"use strict";
Redoc.init("openapi.json", {disableSearch: true}, document.getElementById("api"));
""",
    root="main",
)
VIEWERS = (SWAGGER_UI, REDOC)
PATHS = tuple(path for viewer in VIEWERS for path in viewer.paths)
"""The paths of both pages and their files."""

router = APIRouter(include_in_schema=False)


def _add(viewer: Viewer) -> None:
    async def page(_: Request) -> Response:
        return HTMLResponse(viewer.html)

    async def start(_: Request) -> Response:
        return Response(viewer.start, media_type=_SCRIPT)

    router.add_api_route(viewer.page, page)
    router.add_api_route(f"{viewer.page}/start.js", start)
    for name, (text, media_type) in _OWN.items():
        _add_text(f"{viewer.page}/{name}", text, media_type)
    for name, media_type in viewer.files.items():
        _add_file(viewer, name, media_type)


def _add_text(path: str, text: str, media_type: str) -> None:
    async def own_file(_: Request) -> Response:
        return Response(text, media_type=media_type)

    router.add_api_route(path, own_file)


def _add_file(viewer: Viewer, name: str, media_type: str) -> None:
    async def viewer_file(_: Request) -> Response:
        return FileResponse(_FILES / viewer.folder / name, media_type=media_type)

    router.add_api_route(f"{viewer.page}/{name}", viewer_file)


for _viewer in VIEWERS:
    _add(_viewer)
