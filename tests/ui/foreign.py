"""Foreign pages in a browser that has pages of Triseal open.

In this browser `evil.example` resolves to this machine, like a name after DNS rebinding. Its path
/attack is the attacker's page; all other requests reach the real pages.
"""

from urllib.parse import urlsplit

from tests.ui.hosts import ONLY_THIS_MACHINE
from utils.ports import free_port

NAMED_BY_STRANGERS = (
    "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP evil6.example [::1], "
    + ONLY_THIS_MACHINE,
    # Some browsers ask before a public page accesses the local network; not all do.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
)
"""Options for Chromium."""
READ = ("/", "/config", "/gradio_api/info", "/gradio_api/app_id", "/theme.css")
SERVER_READ = ("/", "/health", "/model", "/model/client", "/metrics", "/docs", "/openapi.json")
FETCH = """async ([base, method, path, body]) => {
  const init = {method, credentials: "include"};
  if (body) { init.body = body; init.headers = {"Content-Type": "application/json"}; }
  try {
    const answer = await fetch(base + path, init);
    return [answer.status, (await answer.text()).slice(0, 200000)];
  } catch (error) { return [0, String(error)]; }
}"""
CALL = '{"data": ["a join code of the stranger"]}'


def attack(context, origin, html="<title>harmless</title>"):
    """Open a foreign page at that origin."""
    page = context.new_page()
    page.route(f"{origin}/attack", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(f"{origin}/attack")
    return page


def fetch(page, path, method="GET", body=None, base=""):
    """Return the status that the foreign page can read; 0 if the browser blocks it."""
    return page.evaluate(FETCH, [base, method, path, body])


def submit(context, address):
    """Return the status of a form sent to the address by a page on another port of this host."""
    form = f'<form method="post" enctype="text/plain" action="{address}"></form>'
    page = attack(
        context, f"http://{urlsplit(address).netloc.rsplit(':', 1)[0]}:{free_port()}", form
    )
    # Until the response is shown: closing the page before that can wait forever.
    with page.expect_navigation(url=address) as answered:
        page.evaluate("document.forms[0].submit()")
    page.close()
    return answered.value.status
