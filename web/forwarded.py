"""The callers' addresses behind reverse proxies, from the headers of trusted proxies only.

uvicorn's own default trusts every caller on this machine. Started as `uvicorn server:app`, it
therefore needs `--no-proxy-headers`.
"""

from __future__ import annotations

from typing import cast

from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from utils.addresses import proxies_of


def forwarded(app: ASGIApp, proxies: str) -> ASGIApp:
    """Return the app with `client` and `scheme` of requests as trusted proxies report them.

    `proxies` is the setting. The caller is the last address in `X-Forwarded-For` that is not a
    trusted proxy itself, so that a caller gains nothing by sending the header. Without proxies the
    headers are ignored. Raises AddressInvalid.
    """
    listed = proxies_of(proxies)
    if not listed:
        return app
    return cast(ASGIApp, ProxyHeadersMiddleware(app, trusted_hosts=listed))  # type: ignore[arg-type]
