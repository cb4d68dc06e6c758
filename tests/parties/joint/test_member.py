"""Joint members: complete applications, restarts, and misbehaviour of a server or a party."""

from __future__ import annotations

import base64
import hashlib
import stat
import threading
import time

import httpx
import pytest

from engines.interface import DECIDE, ENCRYPTED_INPUTS, EXPLAIN, PROGRAMS, PUBLIC_KEY, REASONS
from model.explanation import Outcome, explain_scores
from parties.joint.channel import Identity
from parties.joint.codes import JoinCode
from parties.joint.member import JointMember
from parties.results import ALL, SERVER
from tests.parties.joint.running import connect
from trials.joint_stand_in import result_of
from utils.errors import (
    AlreadyOpened,
    AlreadySent,
    DataFolderInUse,
    ForbiddenSlot,
    ForeignMessage,
    InvalidRequest,
    MalformedMessage,
    MessageRepeated,
    NotAuthentic,
    NotAuthorised,
    OutOfStep,
    PartiesDisagree,
    ServerUnreachable,
    UnknownApplication,
    UnknownParty,
    ValueOutOfDomain,
)

A, B, C = "applicant", "bank", "credit_agency"


@pytest.mark.parametrize("way", ["group", "http_group"])
def test_application_from_join_codes_to_explanation(request, way):
    members = request.getfixturevalue(way)().pump()
    assert all(m.keys_ready for m in members.members.values())
    assert len({m.fingerprint for m in members.members.values()}) == 1
    members.send()
    members.pump()
    assert members[A].sent_by == (A, B, C)
    members.agree(DECIDE).pump()
    score = members.truth(DECIDE)[0]
    for member in members.members.values():
        assert (member.decision.score, member.decision.approved) == (score, score >= 0)
        assert member.explanation is None and member.awaits == ()
    members.agree(EXPLAIN).pump()
    scores = members.truth(EXPLAIN)
    owner = members[C].explanation.explanation
    assert owner == explain_scores(
        members.schema, members.record(C), score >= 0, tuple(float(s) for s in scores)
    )
    for name in (A, B):
        other = members[name].explanation.explanation
        assert list(other.opened) == scores and other.current_bin == -1
    state = members[A].state
    assert state.state == "explained" and state.readers == (A, B, C)


def test_older_state_does_not_replace_newer_one(group):
    members = group().pump()
    bank = members[B]
    client = members.connections[B].client
    ask = client.exchange

    def slow(*arguments):
        """Return a response that was in transit while the person pressed the button."""
        answer = ask(*arguments)
        client.exchange = ask
        bank.send_record(members.record(B))
        assert bank.has_sent
        return answer

    client.exchange = slow
    bank.advance()
    assert bank.has_sent
    assert B in bank.sent_by


def test_other_parties_get_an_explanation_of_the_column_only(group):
    members = group().pump().send()
    members.agree(DECIDE).pump()
    members.agree(EXPLAIN).pump()
    said = {n: members[n].explanation.explanation for n in members.names}
    assert said[A].text == said[B].text
    assert said[A].current_bin == said[B].current_bin == -1 != said[C].current_bin
    if said[A].outcome is Outcome.TURNED:
        assert "the credit agency holds the present number" in said[A].text


@pytest.mark.parametrize("readers", [[C], [A, B]])
def test_only_readers_learn_the_result(group, readers):
    members = group(readers).pump().send()
    members.agree(DECIDE).pump()
    members.agree(EXPLAIN).pump()
    for name, member in members.members.items():
        assert member.is_reader is (name in readers) and member.readers == tuple(readers)
        assert (member.decision is not None) is (name in readers)
        assert (member.explanation is not None) is (name in readers)


def test_events_list_the_messages_and_holdings_the_files(group):
    members = group().pump().send()
    members.agree(DECIDE).pump()
    bank = members[B]
    own = [(e.what, e.receiver) for e in bank.events if e.sender == B]
    assert own == [
        ("hello", ALL),
        ("share_commit", ALL),
        ("share_open", ALL),
        ("record_commit", ALL),
        ("encrypted inputs", SERVER),
        ("agree:decide", ALL),
        ("confirm:decide", ALL),
        ("partial:decide", A),
        ("partial:decide", C),
    ]
    fetched = [e for e in bank.events if e.sender == SERVER]
    assert [e.what for e in fetched] == ["encrypted result of decide"]
    assert all(e.relayed for e in bank.events if SERVER not in (e.sender, e.receiver))
    assert all(len(e.sha256) == 64 and e.preview for e in bank.events)
    assert members.restart(B).events == bank.events
    held = dict(bank.holdings())
    assert "the encrypted result of the decision" in held and not any("_" in each for each in held)
    assert held["its own part of the secret key"] == bank.secret_bytes == 8
    assert "its own record" in held and all(held.values())
    folder = members.folder / B / bank.client_id / B
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    traffic = members.client.traffic(bank.client_id, members.opening.watch_token).items
    assert [t.what for t in traffic if t.sender == B][:3] == [what for what, _ in own[:3]]
    assert PUBLIC_KEY in [t.what for t in traffic] and "run decide" in [t.what for t in traffic]


def test_no_secret_is_held_by_another_party_or_the_server(http_group, joint_server):
    members = http_group().pump().send()
    members.agree(DECIDE).pump()
    held = {name: members.files(name) for name in members.names}
    members.agree(EXPLAIN).pump()
    server = b"".join(p.read_bytes() for p in joint_server.folder.rglob("*") if p.is_file())
    for name, own in held.items():
        identity = own["identity"]
        group_secret, secrets = identity[:16], [own["secret_key"], identity[16:48], identity[48:]]
        elsewhere = server + b"".join(
            p.read_bytes()
            for other in members.names
            if other != name
            for p in (members.folder / other).rglob("*")
            if p.is_file()
        )
        for secret in secrets:
            assert not any(form in elsewhere for form in _forms(secret))
        assert not any(form in server for form in _forms(group_secret))
        for code in members.opening.codes.values():
            assert code.encode() not in elsewhere
            assert code.rpartition(".")[2].encode() not in server


def _forms(secret: bytes) -> list[bytes]:
    return [
        secret,
        secret.hex().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
    ]


def test_restarts_after_every_step_change_nothing(group):
    members = group()
    members.pump_restarting()
    prints = {m.fingerprint for m in members.members.values()}
    members.send()
    for name in members.names:
        members.restart(name)
    members.pump_restarting()
    for program in PROGRAMS:
        for name in members.names:
            members[name].agree(program)
            members.restart(name)
        members.pump_restarting()
    assert list(members[A].reasons.values) == members.truth(REASONS)
    assert len(prints) == 1 and {m.fingerprint for m in members.members.values()} == prints
    assert {m.decision.score for m in members.members.values()} == {members.truth(DECIDE)[0]}
    steps = members.client.messages(members.opening.client_id, members[A].own.token, 0).messages
    assert len({(m.sender, m.step, m.receiver) for m in steps}) == len(steps)


class ProcessDied(BaseException):
    """Stands for the end of the process: no code of the party catches it."""


class Breaking:
    """A client that fails at the nth request, before or after the server has handled it."""

    def __init__(self, client, nth: int, after: bool) -> None:
        self._client, self._left, self._after = client, nth, after

    def __getattr__(self, name):
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*args, **kwargs):
            self._left -= 1
            if self._left == 0 and not self._after:
                raise ProcessDied
            answer = found(*args, **kwargs)
            if self._left == 0:
                raise ProcessDied
            return answer

        return call


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_member_resumes_after_a_crash_at_any_request(group, after):
    """For every request of the first party, it dies there and resumes with the same messages."""
    for nth in range(2 if after else 1, 100, 3):
        members = group(name=str(nth))
        real = members.connections[A].client
        members.connections[A].client = Breaking(real, nth, after)
        broke = False
        try:
            members.restart(A)
            _play(members)
        except ProcessDied:
            broke = True
        members.connections[A].client = real
        if broke:
            members.restart(A)
            _play(members)
        scores = [m.decision.score for m in members.members.values()]
        assert scores == members.truth(DECIDE) * 3
        if not broke:
            return
    pytest.fail("the number of requests is not bounded")


def _play(members) -> None:
    members.pump()
    for name in members.names:
        if not members[name].has_sent:
            members[name].send_record(members.record(name))
    members.pump()
    for name in members.names:
        if name not in members[name].agreed_by(DECIDE):
            members[name].agree(DECIDE)
    members.pump()


def test_join_code_works_once_and_resumes_its_folder(group, local_server, tmp_path):
    members = group()
    code = members.opening.codes[B]
    with pytest.raises(DataFolderInUse):
        JointMember.join(members.connections[B], B, code)
    members[B].close()
    with JointMember.join(members.connections[B], B, code) as again:
        assert again.client_id == members.opening.client_id
    with pytest.raises(NotAuthorised):
        JointMember.join(connect(local_server, tmp_path / "elsewhere"), B, code)
    assert not (tmp_path / "elsewhere" / members.opening.client_id).exists()
    other = JoinCode(members.opening.client_id, "x", bytes(16))
    with pytest.raises(NotAuthorised, match="different code"):
        JointMember.join(members.connections[B], B, str(other))
    with pytest.raises(NotAuthorised):
        JointMember.join(members.connections[B], A, code)
    with pytest.raises(UnknownParty):
        JointMember.join(members.connections[B], "landlord", code)
    for text in ("", "abc", code[:-1], code + "x", code.replace(".", "/"), "../" + code):
        with pytest.raises(InvalidRequest):
            JointMember.join(members.connections[B], B, text)
    assert JoinCode.parse(f"  {code}\n") == JoinCode.parse(code)
    assert code not in repr(JoinCode.parse(code)) and code not in repr(members.opening)
    assert members.connections[B].store.applications(B) == [members.opening.client_id]
    assert members.connections[B].store.applications(A) == []


def test_messages_under_another_group_secret_are_refused(group):
    members = group()
    files = members.connections[B].store
    files.write(members.opening.client_id, B, "identity", Identity.fresh(bytes(16)).to_bytes())
    files.remove(members.opening.client_id, B, "protocol.json")
    members.restart(B).advance()
    for _ in range(2):
        with pytest.raises(NotAuthentic):
            members[A].advance()
        assert isinstance(members[A].failure, NotAuthentic)
    assert not members[A].keys_ready and members[A].awaits == (B, C)


def test_record_is_refused_before_the_keys_are_made(group):
    members = group()
    members[A].advance()
    with pytest.raises(OutOfStep, match="bank, credit_agency"):
        members[A].send_record(members.record(A))
    with pytest.raises(OutOfStep):
        members[A].agree(DECIDE)
    assert members[A].awaits == (B, C)
    assert members[A].fingerprint is None and members[A].public_key_bytes == 0


def test_a_record_is_fixed_once_it_is_committed_to(group):
    members = group().pump()
    record = members.record(B)
    other = record | {"Account_age": 60}
    with pytest.raises(ValueOutOfDomain):
        members[B].send_record({"Account_age": -1})
    assert not members[B].has_sent
    sent = members[B].send_record(record)
    assert members[B].is_sent(record) and not members[B].is_sent(other)
    assert sent.waits and not sent.fresh
    again = members.restart(B).send_record(record)
    assert (again.sha256, again.size) == (sent.sha256, sent.size) and again.waits
    with pytest.raises(AlreadySent, match="new application, which has new keys"):
        members[B].send_record(other)
    with pytest.raises(AlreadySent):
        members.restart(B).send_record(other)
    for name in (A, C):
        members[name].send_record(members.record(name))
    members.pump()
    assert members.restart(B).is_sent(record) and not members[B].is_sent(other)
    assert members[B].upload.sha256 == sent.sha256
    assert members[B].send_record(record).sha256 == sent.sha256
    members.agree(DECIDE, [A]).pump()
    with pytest.raises(AlreadySent):
        members[B].send_record(record)
    members.agree(DECIDE, [B, C]).pump()
    assert members[B].decision.score == members.truth(DECIDE)[0]


def test_no_record_is_uploaded_before_all_have_committed(group):
    members = group().pump()
    for name in (A, B):
        members[name].send_record(members.record(name))
    members.pump()
    assert members[A].sent_by == members[B].sent_by == (A, B)
    assert members[A].awaits == (C,) and members[A].upload is None
    held = [slot.file_name for slot in members[A].state.slots if slot.received_bytes]
    assert held == [PUBLIC_KEY]
    sent = members[C].send_record(members.record(C))
    assert not sent.waits and members[C].upload.sha256 == sent.sha256  # the others' are known
    assert not members[C].records_arrived
    members.pump()
    assert all(member.records_arrived for member in members.members.values())
    assert not list(members.folder.rglob("upload"))


def test_restart_between_commitment_and_upload_sends_the_committed_bytes(group):
    members = group().pump()
    sent = {A: members[A].send_record(members.record(A)).sha256}
    kept = members.files(A)["upload"]
    members.restart(A)
    for name in (B, C):
        sent[name] = members[name].send_record(members.record(name)).sha256
    members.restart(A)
    members.pump()
    state = members[B].state
    assert {name: state.sha256_of(name, ENCRYPTED_INPUTS) for name in sent} == sent
    assert hashlib.sha256(kept).hexdigest() == sent[A] == members[A].upload.sha256


def test_damaged_upload_is_not_sent(group):
    members = group().pump()
    for name in (A, B):
        members[name].send_record(members.record(name))
    path = next((members.folder / A).rglob("upload"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    members.restart(A)
    members[C].send_record(members.record(C))
    with pytest.raises(MalformedMessage, match="damaged"):
        members[A].advance()
    assert members[A].upload is None and not members[A].records_arrived


def test_commitment_reaches_the_server_after_a_lost_connection(group):
    members = group().pump()
    real = members.connections[B].client

    def unreachable(*_):
        raise ServerUnreachable("no response") from httpx.ConnectError("refused")

    lie(members, B, exchange=unreachable)
    sent = members[B].send_record(members.record(B))
    assert sent.waits and members[B].has_sent
    members.connections[B].client = real
    members.restart(B)
    members.send(names=[A, C])
    assert members[B].upload.sha256 == sent.sha256


def test_an_agreement_needs_all_records(group):
    members = group().pump()
    members[A].send_record(members.record(A))
    members[B].send_record(members.record(B))
    with pytest.raises(OutOfStep, match=C):
        members[A].agree(DECIDE)
    with pytest.raises(OutOfStep):
        members[A].own.open(DECIDE)
    members[C].send_record(members.record(C))
    with pytest.raises(OutOfStep, match=C):
        members[A].agree(DECIDE)  # its record is on the server, but its commitment is not known
    members.pump()
    with pytest.raises(OutOfStep, match="after the decision"):
        members[A].agree(EXPLAIN)
    members.agree(DECIDE, [A, B]).pump()
    assert members[A].agreed_by(DECIDE) == (A, B) and members[A].awaits == (C,)
    assert members[A].decision is None and members[A].run_if_due() is None
    assert members[B].state.programs[DECIDE].status == "idle"


class Lying:
    """A client of a server that returns something false from some calls."""

    def __init__(self, client, **lies) -> None:
        self._client, self._lies = client, lies

    def __getattr__(self, name):
        return self._lies.get(name) or getattr(self._client, name)


def lie(members, name, **lies):
    """Make the member's server lie from now on; the member's state stays."""
    real = members.connections[name].client
    members.connections[name].client = Lying(real, **lies)
    members.restart(name)
    return real


def _slot(state, party, file_name, sha256):
    slots = [
        s.model_copy(update={"sha256": sha256})
        if (s.party, s.file_name) == (party, file_name)
        else s
        for s in state.slots
    ]
    return state.model_copy(update={"slots": tuple(slots)})


@pytest.mark.parametrize(
    ("party", "slot"), [(B, ENCRYPTED_INPUTS), (A, PUBLIC_KEY)], ids=["record", "public key"]
)
def test_no_party_agrees_to_altered_uploads(group, party, slot):
    members = group().pump().send().pump()
    real = members.connections[B].client
    lie(
        members,
        B,
        state=lambda client_id, token: _slot(real.state(client_id, token), party, slot, "f" * 64),
    )
    with pytest.raises(PartiesDisagree):
        members[B].agree(DECIDE)
    assert members[B].agreed_by(DECIDE) == ()


def test_a_server_that_shows_parties_different_records_is_detected(group):
    members = group().pump().send().pump()
    real = members.connections[A].client
    lie(
        members,
        A,
        state=lambda *a: _slot(real.state(*a), C, ENCRYPTED_INPUTS, "f" * 64),
    )
    with pytest.raises(PartiesDisagree, match=C):
        members[A].agree(DECIDE)
    members.agree(DECIDE, [B, C]).pump()
    assert members[B].agreed_by(DECIDE) == (B, C) and members[B].decision is None


def test_a_run_on_swapped_records_is_not_opened(group):
    members = group().pump().send().pump()
    members.agree(DECIDE).pump(answer=False)
    real = members.connections[B].client

    def state(*arguments):
        return _slot(real.state(*arguments), C, ENCRYPTED_INPUTS, "f" * 64)

    def exchange(*arguments):
        answer = real.exchange(*arguments)
        changed = _slot(answer.state, C, ENCRYPTED_INPUTS, "f" * 64)
        return answer.model_copy(update={"state": changed})

    lie(members, B, state=state, exchange=exchange)
    members[B].advance(answer=False)
    with pytest.raises(PartiesDisagree, match="different record"):
        members[B].advance()
    with pytest.raises(PartiesDisagree, match="different record"):
        members[B].own.open(DECIDE)
    assert not [e for e in members[B].events if e.what == "partial:decide"]


def test_only_one_result_is_opened(group):
    members = group().pump().send().pump()
    members.agree(DECIDE).pump()
    key = members[B].own.protocol.public_key
    inputs = dict.fromkeys(members.names, b"\x01")
    other = result_of(DECIDE, members.server.public, key, inputs)
    before, events = members[B].decision, members[B].events
    for _ in range(2):
        lie(members, B, get_output=lambda *a: other)
        members[B].advance()  # learns the state
        members[B].own.open(DECIDE)  # the result that it has confirmed, once more
        with pytest.raises(AlreadyOpened):
            members[B].own.protocol.open(DECIDE, other)
        members.pump()
        assert members[B].decision == before and members[B].events == events
        members.restart(B)


def test_neither_of_two_different_results_is_opened(group):
    members = group().pump().send().pump()
    members.agree(DECIDE).pump(answer=False)
    key = members[B].own.protocol.public_key
    other = result_of(DECIDE, members.server.public, key, dict.fromkeys(members.names, b"\x01"))
    lie(members, B, get_output=lambda *a: other)
    members[B].advance()
    for name in (A, C):
        with pytest.raises(PartiesDisagree, match=B):
            members[name].advance()
        assert members[name].decision is None


def test_a_swapped_message_is_refused_and_the_real_one_accepted_later(group):
    members = group()
    for member in members.members.values():
        member.advance()
    real = members.connections[A].client

    def swap(*args, **kwargs):
        answer = real.exchange(*args, **kwargs)
        altered = [
            m.model_copy(update={"body": m.body[:-1] + bytes([m.body[-1] ^ 1])})
            if m.sender == B
            else m
            for m in answer.messages
        ]
        return answer.model_copy(update={"messages": tuple(altered)})

    lie(members, A, exchange=swap)
    with pytest.raises((NotAuthentic, MessageRepeated)):
        members[A].advance()
        members.pump()
    members.connections[A].client = real
    members.restart(A)
    assert members.pump()[A].keys_ready


def test_a_message_posted_out_of_turn_is_refused(group):
    members = group()
    token = members[B].own.token
    client_id = members.opening.client_id
    members.client.post(client_id, token, "share_open", None, b"garbage")
    for name in (A, C):
        with pytest.raises(Exception, match="too early"):
            members[name].advance()
        assert not members[name].keys_ready


def test_withheld_message_makes_members_wait(group):
    members = group()
    members.pump(names=[A, B])
    assert members[A].awaits == (C,) and not members[A].keys_ready
    start = time.monotonic()
    assert members[A].advance(0.5) is False
    assert time.monotonic() - start > 0.4
    members.pump()
    assert members[A].keys_ready


def test_a_page_may_use_a_member_while_another_thread_waits(http_group):
    members = http_group().pump()
    threads = [threading.Thread(target=_keep_on, args=(members[name],)) for name in members.names]
    for thread in threads:
        thread.start()
    members.send()
    members.agree(DECIDE)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and not all(m.decision for m in members.members.values()):
        time.sleep(0.02)
    members.agree(EXPLAIN)
    for thread in threads:
        thread.join(20)
    assert {m.decision.score for m in members.members.values()} == {members.truth(DECIDE)[0]}
    assert all(m.explanation and m.failure is None for m in members.members.values())


def test_no_other_thread_comes_between_acting_and_the_request(group, monkeypatch):
    """A person's step in between would make this party's next step due, but it would wait."""
    member, order = group().pump()[B], []
    act, request = member.own.act, member.own.next_request

    def other():
        member.keep_token()  # takes the same lock as a person's step
        order.append("other")

    thread = threading.Thread(target=other)

    def acted(answer):
        done = act(answer)
        if not thread.ident:
            thread.start()
            time.sleep(0.1)
        return done

    def requested(*given):
        order.append("request")
        return request(*given)

    monkeypatch.setattr(member.own, "act", acted)
    monkeypatch.setattr(member.own, "next_request", requested)
    member.advance(0.01)
    thread.join(10)
    assert order[0] == "request" and "other" in order


def _keep_on(member) -> None:
    deadline = time.monotonic() + 15
    while member.explanation is None and time.monotonic() < deadline:
        member.advance(2)


def test_erase_removes_all_files_of_the_party(group):
    members = group().pump().send()
    client_id = members.opening.client_id
    members[B].erase()
    assert not (members.folder / B / client_id).exists()
    assert (members.folder / A / client_id).exists()
    with pytest.raises(UnknownApplication):
        members[A].advance()
    members[A].discard()
    members[C].erase()
    assert not list(members.folder.rglob("secret_key"))
    with pytest.raises(NotAuthorised):
        JointMember.resume(members.connections[B], client_id, B)


def test_another_model_on_the_server_ends_the_application(group):
    members = group().pump()
    newer = members.server.public.model_copy(update={"model_version": "newer"})
    members.connections[B].public = newer
    members[B].close()
    with pytest.raises(ForeignMessage, match="model has changed"):
        JointMember.resume(members.connections[B], members.opening.client_id, B)


def test_token_cannot_fill_another_partys_slot(group):
    members = group().pump()
    with pytest.raises(ForbiddenSlot):
        members.client.send_file(
            members.opening.client_id, A, ENCRYPTED_INPUTS, b"x", members[B].own.token
        )
