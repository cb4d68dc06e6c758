"""Runs of a joint application: requests, cancellation, busy servers, and token renewal."""

from __future__ import annotations

import math
import threading
import time

import httpx
import pytest

from engines.interface import DECIDE, EXPLAIN, REASONS
from parties.agent import ApplicationAgent
from parties.joint import asking
from parties.joint.session import JointSession
from tests.parties.joint.running import connect
from tests.parties.running import until
from utils.errors import (
    AlreadyRunning,
    NotAuthorised,
    QueueFull,
    RunCancelled,
    ServerUnreachable,
)

A, B, C = "applicant", "bank", "credit_agency"


@pytest.fixture
def agreed(group):
    """Return members who have all agreed to the decision, before any has requested the run."""
    members = group().pump().send().pump()
    for name in members.names:
        members.connections[name].client.holds = True
    return members.agree(DECIDE)


def status(members, name=A):
    return members[name].state.programs[DECIDE].status


def asked(members):
    """Return the parties that started a run, in order."""
    token = members.opening.watch_token
    items = members.client.traffic(members.opening.client_id, token).items
    return [item.sender for item in items if item.what == f"run {DECIDE}"]


def test_if_the_first_party_is_absent_the_next_one_requests_the_run(agreed, monkeypatch):
    monkeypatch.setattr(asking, "TURN_SECONDS", 0.2)
    for name in agreed.names:
        agreed.restart(name)
    agreed.pump(names=[B])
    assert status(agreed, B) == "idle" and agreed[B].awaits == ()
    begun = time.monotonic()
    until(lambda: agreed[B].advance(20) and status(agreed, B) == "queued")
    assert time.monotonic() - begun < 20  # its own turn ends the wait for the server's events
    agreed.pump()
    assert asked(agreed) == [B] and status(agreed) == "queued"
    assert all(agreed[name].run_if_due() is None for name in agreed.names)
    agreed.server.work()
    agreed.pump()
    assert agreed[C].decision.score == agreed.truth(DECIDE)[0] and asked(agreed) == [B]


def test_a_party_whose_run_comes_after_another_asks_for_it_later(group, monkeypatch):
    """Explanation and reasons are agreed at once, and two parties request one each."""
    members = group()
    members.pump().send()
    members.agree(DECIDE).pump()
    refused = []
    client = members.connections[A].client
    queue = client.queue

    def once_busy(client_id, token, program):
        if not refused:
            refused.append(program)
            raise AlreadyRunning("Another program of this application is running.")
        return queue(client_id, token, program)

    monkeypatch.setattr(client, "queue", once_busy)
    members.agree(EXPLAIN).agree(REASONS).pump()
    assert refused and all(member.failure is None for member in members.members.values())
    assert members["applicant"].reasons is not None
    assert members["applicant"].explanation is not None


def test_any_party_may_request_a_cancelled_run_again(agreed):
    agreed.pump()
    assert status(agreed) == "queued" and asked(agreed) == [A]
    agreed[B].cancel(DECIDE)
    assert status(agreed, B) == "cancelled"
    agreed.pump()
    assert status(agreed) == "cancelled" and asked(agreed) == [A]
    assert agreed[A].agreed_by(DECIDE) == (A, B, C)  # the agreement stands
    assert agreed.restart(C).advance() and status(agreed, C) == "cancelled"
    assert agreed[C].run_if_due() == DECIDE
    assert status(agreed, C) == "queued" and asked(agreed) == [A, C]
    agreed.server.work()
    agreed.pump()
    assert {m.decision.score for m in agreed.members.values()} == {agreed.truth(DECIDE)[0]}


class Full:
    """A client of a server that accepts no run as long as `full` is set."""

    def __init__(self, client, seconds):
        self._client, self._seconds, self.full, self.asked = client, seconds, True, 0

    def __getattr__(self, name):
        return getattr(self._client, name)

    def exchange(self, *arguments):
        if arguments[-1] is not None:
            self.asked += 1
            if self.full:
                raise QueueFull("The server is busy: 1 runs wait. Run it again.", self._seconds)
        return self._client.exchange(*arguments)


def test_an_agent_waits_for_a_busy_server_and_reports_it(agreed):
    full = agreed.connections[A].client = Full(agreed.connections[A].client, 0.1)
    application = ApplicationAgent(agreed.restart(A), pinned=True)
    application.look()
    until(lambda: application.waits)
    assert application.waits == "The server is busy: 1 runs wait. Trying again in 1 s."
    assert application.failure is None and asked(agreed) == []
    full.full = False
    until(lambda: status(agreed) == "queued")
    until(lambda: not application.waits)
    agreed.server.work()
    agreed.pump(names=[B, C])
    until(lambda: agreed[A].decision is not None)
    application.close()
    assert full.asked > 1 and asked(agreed) == [A]


def test_a_session_follows_its_run_and_cancels_it(local_server, tmp_path):
    connection = connect(local_server, tmp_path / "parties")
    session = JointSession.open(connection)
    session.make_keys()
    for party in session.plays:
        columns = connection.public.schema_.party(party).columns
        session.send(party, {column.name: column.default for column in columns})
    connection.client.holds = True
    news, ended = [], []

    def run():
        try:
            session.run(news=news.append)
        except RunCancelled as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: news)
    session.cancel()
    thread.join(30)
    assert {one.status for one in news} == {"queued"} and ended
    connection.client.holds = False
    assert session.run().seconds == 0.25  # the agreement stands
    assert session.open_decision().score is not None


@pytest.fixture
def due(group):
    """Return members, one of which has to renew its token."""
    members = group()
    remembered = members[B].own.remembered
    remembered.token_from, remembered.token_until = time.time() - 70, time.time() + 30
    members[B].own.save()
    return members


def token_file(members):
    client_id = members.opening.client_id
    return members.connections[B].store.read(client_id, B, "token").decode()


def test_a_token_is_renewed_in_time_and_kept_before_it_is_used(due):
    before = due[B].own.token
    due.restart(B)
    due[B].advance()
    after = due[B].own.token
    assert after != before and token_file(due) == after
    assert due.restart(B).own.token == after
    due[B].advance()
    assert due[B].keep_token() == math.inf  # now it lasts as long as the application
    due[B].own.remembered.token_from = 0.0
    due[B].advance()
    assert due[B].own.token == after


class Losing:
    """A client that loses the responses to renewals after the server has handled them."""

    def __init__(self, client):
        self._client, self.lost = client, []

    def __getattr__(self, name):
        return getattr(self._client, name)

    def renew(self, *arguments):
        self.lost.append(self._client.renew(*arguments))
        error = ServerUnreachable("The server cannot be reached.")
        raise error from httpx.ReadError("reset")


def test_a_renewal_whose_response_is_lost_is_repeated(due, monkeypatch):
    real = due.connections[B].client
    losing = due.connections[B].client = Losing(real)
    before = due.restart(B).own.token
    due[B].advance()
    assert len(losing.lost) == 1 and due[B].own.token == before == token_file(due)
    due[B].advance()  # does not retry at once
    assert len(losing.lost) == 1
    due.connections[B].client = real
    due.restart(B).advance()
    assert due[B].own.token not in (before, losing.lost[0].token)
    assert due[B].advance() is False


def test_a_revoked_token_ends_the_application_agent(due):
    due.server.party_tokens.revoke(due.opening.client_id, due[B].own.token)
    application = ApplicationAgent(due[B], pinned=True)
    application.look()
    until(lambda: application.over)
    assert "does not belong to this application" in application.over
    with pytest.raises(NotAuthorised):
        due[B].keep_token()


def test_an_unattended_application_agent_renews_its_token(due, monkeypatch):
    monkeypatch.setattr("parties.agent.IDLE_SECONDS", 0.0)
    before = token_file(due)
    application = ApplicationAgent(due.restart(B))
    application.look()
    until(lambda: token_file(due) != before)
    application.close()
    assert not application.over
