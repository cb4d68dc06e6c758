"""Paths of requests as the app knows them, whatever prefix a proxy puts before them."""

from __future__ import annotations

from starlette.types import Scope


def path_in_app(scope: Scope) -> str:
    """Return the request's path without the prefix that ASGI calls `root_path`.

    `uvicorn --root-path` names such a prefix; its requests then have it in their path.
    """
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    if root and path.startswith(f"{root}/"):
        return path[len(root) :]
    return path
