"""Stand-ins for the agents, which keep their states in memory and decide nothing by a policy."""

from __future__ import annotations

from dataclasses import dataclass, field

from governance.datasets import read_data_set
from governance.request_state import Grant
from governance.requests import AccessRequest, Requester, Uses
from parties.governance.views import (
    ActivityLine,
    DataSetView,
    GrantView,
    RequestView,
    SessionView,
)
from utils.errors import AgentUnreachable, ConsentMissing, RequestClosed, UnknownName
from utils.tokens import new_id

KEY = "ab" * 32
NOW = 1_700_000_000


@dataclass
class Memory:
    """The state that both stand-ins share, as if a session connected them."""

    sessions: list[SessionView] = field(default_factory=list)
    data: list[DataSetView] = field(default_factory=list)
    requests: list[RequestView] = field(default_factory=list)
    lines: list[ActivityLine] = field(default_factory=list)
    rows: dict[str, tuple] = field(default_factory=dict)
    consents: list[tuple] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    """Sessions whose owners do not respond."""

    def position(self, request_id):
        for number, view in enumerate(self.requests):
            if view.request.id == request_id:
                return number
        raise UnknownName("There is no such request.")

    def change(self, request_id, **facts):
        number = self.position(request_id)
        self.requests[number] = self.requests[number].model_copy(update=facts)
        return self.requests[number]


class OwnerStandIn:
    name, key = "Ann", KEY

    def __init__(self, memory):
        self._memory = memory

    def host_session(self, title="", hours=24.0):
        made = SessionView(
            session_id=new_id(),
            status="waiting",
            title=title,
            created=NOW,
            expires=NOW + int(3600 * hours),
            code="id.code.secret",
        )
        self._memory.sessions.append(made)
        return made

    def sessions(self):
        return tuple(self._memory.sessions)

    def end_session(self, session_id):
        self._memory.sessions[:] = [s for s in self.sessions() if s.session_id != session_id]

    def store_data(self, data, tag, words, *, categories=None, schema_name="own_data"):
        found = read_data_set(data, tag, words, categories=categories, schema_name=schema_name)
        made = DataSetView(
            id=new_id(),
            version=1,
            tag=tag,
            words=words,
            schema_name=schema_name,
            columns=found.description.columns,
            rows=len(found.rows),
        )
        self._memory.data.append(made)
        self._memory.rows[made.id] = found.rows
        return made

    def data_sets(self, words="", tag=""):
        return tuple(d for d in self._memory.data if words in d.words and tag in ("", d.tag))

    def remove_data(self, data_set):
        self._memory.data[:] = [d for d in self._memory.data if d.id != data_set]

    def requests(self):
        return tuple(self._memory.requests)

    def request(self, request_id):
        return self._memory.requests[self._memory.position(request_id)]

    def approve(self, request_id, *, fields=None, uses=None, not_after=None):
        asked = self.request(request_id)
        if asked.status != "pending":
            raise RequestClosed("The request has been decided.")
        whole = Grant.whole(asked.request)
        grant = GrantView(
            fields=fields or whole.fields,
            uses=uses or whole.uses,
            not_after=not_after or whole.not_after,
        )
        self._memory.lines.append(
            ActivityLine(at=NOW, kind="answer", by="Ann", words="", request_id=request_id)
        )
        return self._memory.change(
            request_id, status="active", grant=grant, uses_left=grant.uses.count
        )

    def deny(self, request_id, reason):
        return self._memory.change(request_id, status="denied", reason=reason)

    def pause(self, request_id):
        return self._memory.change(request_id, status="paused")

    def resume(self, request_id):
        return self._memory.change(request_id, status="active")

    def revoke(self, request_id, reason=""):
        return self._memory.change(request_id, status="revoked", reason=reason)

    def receipt(self, request_id):
        return b'{"id": "' + request_id.encode() + b'"}'

    def consent(self, partner_id, purpose, granted):
        self._memory.consents.append((partner_id, purpose, granted))

    def activity(self):
        return tuple(self._memory.lines)

    def wait(self, serial, seconds):
        return serial + 1


class InstitutionStandIn(OwnerStandIn):
    name, key = "Bank 1", KEY

    def connect_session(self, code):
        last = self._memory.sessions[-1]
        made = last.model_copy(
            update={"status": "connected", "code": None, "peer": "Ann", "peer_key": KEY}
        )
        self._memory.sessions[-1] = made
        return made

    def data_sets(self, session_id, words="", tag=""):
        if session_id in self._memory.away:
            raise AgentUnreachable("The owner's agent does not respond.")
        return super().data_sets(words, tag)

    def request(self, session_id, data_set, *, action, purpose, reason, **more):
        asked = AccessRequest(
            id=new_id(),
            requester=Requester(name=self.name, key=KEY),
            owner="Ann",
            action=action,
            target=data_set,
            fields=tuple(more["fields"]) or ("value",),
            purpose=purpose,
            reason=reason,
            computation=more["computation"],
            readers=("Bank 1",),
            created=NOW,
            not_after=NOW + int(3600 * more["hours"]),
            uses=more.get("uses", Uses()),
            retention_days=more["retention_days"],
        )
        view = RequestView(
            request=asked,
            session_id=session_id,
            peer=self.name,
            peer_type="bank",
            status="pending",
            words="Bank 1 asks for the mean of value",
            data_set=data_set,
            policy_allows=True,
            policy_words="A rule allows it.",
            rules=("credit-statistics",),
            masks={},
        )
        self._memory.requests.append(view)
        words = "The request is pending."
        self._memory.lines.append(
            ActivityLine(at=NOW - 60, kind="answer", by="", words=words, request_id=asked.id)
        )
        return view

    def request_view(self, request_id):
        return OwnerStandIn.request(self, request_id)

    def run(self, request_id, wait=30.0):
        asked = self.request_view(request_id)
        if asked.status != "active":
            raise ConsentMissing("The owner has not approved the request.")
        values = [row["value"] for row in self._memory.rows[asked.data_set]]
        return {"kind": "mean", "value": sum(values) / len(values), "groups": []}

    def receive_record(self, host, port, token, *, owner_key=None):
        return {"income": "20000-30000"}
