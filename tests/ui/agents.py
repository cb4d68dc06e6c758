"""The agents of an owner and of an institution as processes, each with its page."""

from __future__ import annotations

from contextlib import contextmanager

import httpx

from parties.identity_file import make_identity
from tests.ui.links import printed_link
from ui.waiting import wait_for_page
from utils.child_process import ChildProcess
from utils.ports import free_port


class AgentPage(ChildProcess):
    """`python -m parties owner` or `institution` with a page."""

    def __init__(self, kind, name, folder, server, *more):
        port = free_port()
        words = ["-m", "parties", kind, "--name", name, "--home", str(folder / kind)]
        settings = {"server_url": server.url, "deployment": server.deployment}
        super().__init__(
            [*words, "--page-port", str(port), *more], folder / f"{kind}.log", settings
        )
        self.start()
        wait_for_page(f"http://127.0.0.1:{port}", self._check)
        self.link = printed_link(self.log())

    def _check(self):
        if not self.alive:
            raise RuntimeError(self.log())


def token_file_of(folder, server, partner, kind):
    """Register an institution whose folder is `folder / "institution"`; return its token's file."""
    key = make_identity(folder / "institution").public.hex()
    answer = httpx.post(
        f"{server.url}/operator/partners",
        json={"partner_id": partner, "partner_type": kind, "key": key},
        headers={"Authorization": f"Bearer {server.operator_token()}"},
        trust_env=False,
    )
    path = folder / "partner_token"
    path.touch(0o600)
    path.write_text(answer.raise_for_status().json()["token"])
    return path


@contextmanager
def both_pages(folder, server):
    """Run Ana's agent and that of the Demo Bank, which is registered as a bank."""
    started = []
    try:
        started.append(AgentPage("owner", "Ana", folder, server))
        token = token_file_of(folder, server, "demo-bank", "bank")
        more = ("--token-file", str(token))
        started.append(AgentPage("institution", "Demo Bank", folder, server, *more))
        yield started
    finally:
        for each in started:
            each.stop()
