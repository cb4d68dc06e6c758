"""Paths of requests within the app, without the prefix that a proxy may add."""

from __future__ import annotations

from starlette.types import Scope


def path_in_app(scope: Scope) -> str:
    """Return the request's path without the prefix that ASGI calls `root_path`.

    `uvicorn --root-path` sets such a prefix; the paths of its requests then begin with it.
    """
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    if root and path.startswith(f"{root}/"):
        return path[len(root) :]
    return path
