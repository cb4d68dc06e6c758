"""The API documentation: one page that loads its viewer, Swagger UI, from this server.

Its links are relative, so that it works behind a proxy that adds a path prefix. The viewer's files
come from the package fastapi-standalone-docs. The package's own functions are not used: they patch
FastAPI for the whole process and put an inline script into the page.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

PAGE = "/docs"
_VIEWER = Path(str(files("fastapi_standalone_docs"))) / "static" / "swagger"
_FILES = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}
_START = f"{PAGE}/start.js"
PATHS = (PAGE, _START, *(f"{PAGE}/{name}" for name in _FILES))
"""The page and the files that it loads, except for the OpenAPI document."""

_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Triseal: the HTTP API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<noscript>This page needs JavaScript; openapi.json has the same content.</noscript>
<div id="api"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# Without `validatorUrl: null`, the viewer sends the document's URL to a third-party validator.
_SCRIPT = """"use strict";
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"""

router = APIRouter(include_in_schema=False)


@router.get(PAGE)
async def page(_: Request) -> Response:
    """Return the documentation page."""
    return HTMLResponse(_HTML)


@router.get(_START)
async def start(_: Request) -> Response:
    """Return the script that starts the viewer."""
    return Response(_SCRIPT, media_type="text/javascript")


def _add(name: str, media_type: str) -> None:
    async def viewer_file(_: Request) -> Response:
        return FileResponse(_VIEWER / name, media_type=media_type)

    router.add_api_route(f"{PAGE}/{name}", viewer_file)


for _name, _media_type in _FILES.items():
    _add(_name, _media_type)
