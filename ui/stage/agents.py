"""Steps that the stage takes at the parties' agents; see ui/agent/demonstration.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parties.bounded_http import BoundedHttp
from settings import Settings
from ui.agent.demonstration import PATH, StepName, StepRequest, StepTaken
from utils.addresses import reachable, url_of

SECONDS = 40.0
"""Longest wait for an agent, which may wait itself until all records have arrived."""


class _AgentCalls(BoundedHttp):
    def take(self, token: str, step: StepRequest) -> bool:
        body = step.model_dump()
        return self._answer(StepTaken, "POST", PATH, token=token, json=body).needed


class Agents:
    """The agents of all parties; empty unless their tokens are known."""

    def __init__(self, settings: Settings, parties: Sequence[str]) -> None:
        tokens, host = settings.demonstration_tokens, reachable(settings.page_host)
        self._calls: Mapping[str, tuple[_AgentCalls, str]] = {
            name: (
                _AgentCalls(url_of(host, settings.agent_port + i), SECONDS),
                tokens[name].get_secret_value(),
            )
            for i, name in enumerate(parties)
            if name in tokens
        }
        self.complete = set(self._calls) == set(parties)

    def take(self, party: str, client_id: str, step: StepName, example: int) -> bool:
        """Have a party take a step; return False if the application does not need it.

        Raises what the agent reports, and ServerUnreachable.
        """
        calls, token = self._calls[party]
        return calls.take(token, StepRequest(client_id=client_id, step=step, example=example))
