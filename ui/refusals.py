"""Error pages shown in place of a page of Triseal: the reason, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import HTMLResponse

from ui.units import escape

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --text: #1e293b; --soft: #475569; --line: #cbd5e1;
  --back: #fff; --accent: #0f766e; }
@media (prefers-color-scheme: dark) {
  :root { --text: #f1f5f9; --soft: #94a3b8; --line: #334155; --back: #0f172a; --accent: #2dd4bf; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 8vh 16px 32px; background: var(--back); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 620px; margin: 0 auto; padding: 22px 24px; border: 1px solid var(--line);
  border-radius: 12px; }
.brand { margin: 0; color: var(--accent); font-size: 13px; font-weight: 700;
  letter-spacing: .08em; text-transform: uppercase; }
h1 { margin: 4px 0 12px; font-size: 24px; line-height: 1.25; letter-spacing: -.01em; }
p { margin: 0 0 12px; overflow-wrap: anywhere; }
.why { margin: 16px 0 0; padding-top: 14px; border-top: 1px solid var(--line);
  color: var(--soft); font-size: 14px; }
code { font-family: ui-monospace, SFMono-Regular, "DejaVu Sans Mono", monospace;
  font-size: .92em; }
details { margin: 0 0 12px; color: var(--soft); }
details p { margin: 8px 0 0; }
summary { cursor: pointer; }
.button { display: inline-block; padding: 9px 18px; border-radius: 8px; background: #0f766e;
  color: #fff; font-weight: 600; text-decoration: none; }
@media (max-width: 480px) { body { padding-top: 16px; } main { padding: 18px 16px; }
  h1 { font-size: 21px; } }
"""


def needs_link(title: str, address: str) -> HTMLResponse:
    """Return 403: the browser has not opened the page with its link yet."""
    return _page(
        403,
        f"Open {title} with its link",
        "<p>Use the whole link that you were given. It works in any browser, as often as you like, "
        "until this page is started again. If you have lost it, ask the person who runs the page "
        "for a new one.</p>"
        + _for_operators(
            "<p>The link was printed in the terminal where this page was started. It looks like "
            f"<code>{escape(address)}/?token=…</code>. After <code>make demo</code>, open "
            "the link that it printed; the parties' pages then open in the same browser too. "
            "Restart the process to get a new link.</p>"
        ),
        "The address alone is not enough, so that no other web page and no other user of this "
        "machine can read this page or press its buttons.",
    )


def old_link(title: str) -> HTMLResponse:
    """Return 403: the token in the address belongs to another process."""
    return _page(
        403,
        "This link is out of date",
        f"<p>{_upper(escape(title))} has been started again since, and each start makes a new "
        "link. Open the newest one.</p>"
        + _for_operators("<p>Its terminal printed the newest link last.</p>"),
        "If you copied the link, check that the address bar contains all of it.",
    )


def led_here(title: str) -> HTMLResponse:
    """Return 403: a page of another origin sent the browser here."""
    return _page(
        403,
        "Another page sent you here",
        f"<p>Another web page was about to open {escape(title)}. Anything it added to the address "
        "has been removed.</p>"
        '<p><a class="button" href="./" referrerpolicy="no-referrer">Open the page</a></p>',
        "Other web pages may not act on a party's behalf, not even to join an application.",
    )


def opening(target: str, cookie: Mapping[str, str]) -> HTMLResponse:
    """Return 200: the link was right; the browser continues as if this page had sent it."""
    answer = _page(
        200,
        "Opening the page",
        f'<p><a class="button" href="{escape(target)}">Open the page</a></p>',
        "The page opens automatically. If it does not, press the button.",
        f'<meta http-equiv="refresh" content="0;url={escape(target)}">',
    )
    answer.headers.update(cookie)
    return answer


def unknown_host() -> HTMLResponse:
    """Return 421: the page was requested under a host name that is not allowed."""
    return _page(
        421,
        "This page has another address",
        "<p>It is not served under the host name in the address bar. Use the address that you "
        "were given.</p>"
        + _for_operators(
            "<p>The address was printed in the page's terminal. To allow another name, add it to "
            "<code>TRISEAL_ALLOWED_HOSTS</code> (separated by commas) and restart the page.</p>"
        ),
        "Other names are refused because a foreign web page could otherwise pose as this one by "
        "pointing its own name at this machine.",
    )


def foreign_origin() -> HTMLResponse:
    """Return 403: a page of another origin made the request."""
    return _page(
        403,
        "Other pages may not do this",
        "<p>The request came from another web page and was refused. Open this page by its own "
        "link.</p>"
        + _for_operators(
            "<p>Behind a proxy, set <code>TRISEAL_PAGE_URL</code> to the address that the browser "
            "shows; for another page than the stage, <code>TRISEAL_AGENT_URL</code>, "
            "<code>TRISEAL_COMPLIANCE_URL</code>, <code>TRISEAL_OWNER_URL</code> or "
            "<code>TRISEAL_INSTITUTION_URL</code>.</p>"
        ),
        "Only this page itself may press its buttons and read its results.",
    )


def _for_operators(text: str) -> str:
    return f"<details><summary>For the person who runs this page</summary>{text}</details>"


def _page(status: int, title: str, body: str, why: str, head: str = "") -> HTMLResponse:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{head}<title>Triseal: {escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f'<p class="brand">Triseal</p><h1>{escape(title)}</h1>{body}'
        f'<p class="why">{why}</p></main></body></html>',
        status,
    )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
