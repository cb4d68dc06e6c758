"""Applications with a real server, a real witness process and real parties."""

import json
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

import verify
from engines.interface import DECIDE, EXPLAIN, SIGN_OF
from governance.log.checkpoint import CosignerState, Note, require_cosigners
from parties import decision_file_command
from parties.client import ServerClient
from parties.connection import Connection
from parties.cosigner import STATE_FILE, Cosigner
from parties.joint.codes import open_joint
from parties.joint.member import JointMember
from parties.store import TOKEN, PartyStore
from settings import Settings
from tests.parties.running import until
from tests.witness.running import agreed_and_run, parts
from utils.errors import LogInconsistent, PartiesDisagree, ResultNotWitnessed
from witness.client import WitnessClient
from witness.key import KEY_FILE


def assert_cosigned(url, witness, session):
    """The newest checkpoint gets the witness's cosignature, and the log is healthy."""
    path = f"/applications/{session.client_id}/log"
    token = session.connection.store.read(session.client_id, "bank", TOKEN).decode()
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:

        def audit():
            return http.get("/integrity/verify").json()

        # Each statement is an entry of its own, which the witness cosigns later.
        until(lambda: (found := audit())["cosigned"] == {"Auditor": found["size"]})
        found = audit()
        assert found["healthy"]
        note = Note.parse(http.get("/log/checkpoint").text)
        require_cosigners(note, {"Auditor": bytes.fromhex(witness.public)})
        # The log has entries about other applications if another test has used the server.
        entries = http.get(path, headers={"Authorization": f"Bearer {token}"}).json()["items"]
    kinds = Counter(item["entry"]["kind"] for item in entries)
    assert (kinds["use"], kinds["statement"]) == (4, 4), entries
    state = CosignerState.from_bytes((witness.home / STATE_FILE).read_bytes())
    assert state.size == found["size"]


def assert_decision_file(url, session, folder, capsys):
    """Every party gets the decision file, which passes the offline verifier with its own keys."""
    home = session.connection.store.root
    for party, program in (("applicant", DECIDE), ("bank", EXPLAIN)):
        words = ["--party", party, "--server", url, "--home", str(home), "--program", program]
        wanted = decision_file_command.parse([*words, "--out", str(folder)])
        decision_file_command.run(wanted, Settings())
        command = capsys.readouterr().out.splitlines()[-1].split()
        assert command[:2] == ["python", "verify.py"]
        assert verify.main(command[2:]) == 0, capsys.readouterr().out
        assert verify.main([command[2], "--trust", _foreign(Path(command[4]))]) == 1
    grants = json.loads(Path(command[2]).read_text())["grants"]
    assert len(grants) == len(session.plays)
    with httpx.Client(base_url=url, trust_env=False) as http:
        path = f"/applications/{session.client_id}/decision-file"
        assert http.get(path, headers={"Authorization": "Bearer x"}).status_code == 401
    capsys.readouterr()


def _foreign(trust):
    """Return a trust file with another applicant's key."""
    keys = json.loads(trust.read_text())
    keys["owners"]["applicant"] = "ab" * 32
    trust.with_name("foreign").write_text(json.dumps(keys))
    return str(trust.with_name("foreign"))


def test_decision_and_explanation_are_opened_with_the_witness(
    watched, session, witness, oracle, tmp_path, capsys
):
    witness.start()
    session.run()
    decision = session.open_decision()
    record = oracle.default()
    assert decision.score is None and decision.approved is (oracle.score(record) >= 0)
    assert session.explain().explanation.text == oracle.explanation(record).text
    said = session.state().programs
    order = [EXPLAIN, DECIDE]
    ran = [name for program in order for name in (SIGN_OF[program], program)]
    assert {len(said[name].statements[witness.public].signature) for name in ran} == {128}
    # It counts a statement once the server has confirmed it, when the parties may have it already.
    until(lambda: (found := witness.status())["signed"] == 4 and not found["problem"])
    status = witness.status()
    assert (status["signed"], status["refused"]) == (4, 0)
    assert [each["program"] for each in status["last"]] == ran
    assert_cosigned(watched[0].url, witness, session)
    assert_decision_file(watched[0].url, session, tmp_path, capsys)
    assert stat.S_IMODE((witness.home / KEY_FILE).stat().st_mode) == 0o600


def test_nothing_is_opened_until_a_killed_witness_is_back(watched, table, witness, oracle):
    witness.start()
    witness.kill()
    agreed_and_run(table)
    table.pump()
    assert parts(table) == []
    for member in table.members.values():
        assert member.awaited_witnesses == ("Auditor",)
        assert member.decision is None and member.ended is None
    watched[0].kill()
    watched[0].start()  # the task is offered again after a restart of the server, too
    witness.start()
    table.pump(lambda: all(m.decision for m in table.members.values()), 30)
    approved = oracle.score(oracle.default()) >= 0
    assert {m.decision.approved for m in table.members.values()} == {approved}
    assert all(m.awaited_witnesses == () for m in table.members.values())


def test_refusal_is_shown_with_its_reason_and_opens_nothing(watched, table, witness):
    agreed_and_run(table)
    with WitnessClient(watched[0].url, 30, witness.key) as client:
        (task,) = client.tasks().items
        client.state(task.id, None, "result_differs")
    for member in table.members.values():
        with pytest.raises(ResultNotWitnessed, match=r"Auditor refused .* gives another result"):
            for _ in range(20):
                member.advance(0.2)
        assert isinstance(member.ended, ResultNotWitnessed)
        assert member.secret_bytes == 0  # the keys are erased
    assert parts(table) == []


def test_signature_of_another_result_opens_nothing(watched, table, witness):
    """A server that has the statement altered in its database is refused by every party."""
    agreed_and_run(table)
    member = table.members[table.names[0]]
    run = member.state.programs[DECIDE]
    false = {witness.public: {"signature": "00" * 64, "refusal": None}}
    forged = run.model_validate(run.model_dump() | {"statements": false})
    with pytest.raises(ResultNotWitnessed, match="does not belong"):
        member.own.state = member.own.state.with_program(DECIDE, forged)
        member.own.open(DECIDE)
    assert isinstance(member.ended, ResultNotWitnessed) and parts(table) == []


def test_party_requires_its_own_list_of_witnesses(watched, tmp_path):
    server, witness = watched
    name = "applicant"
    for number, own in enumerate(({}, {"0" * 64: "Auditor"}, {witness.public: "Auditor"})):
        with ServerClient(server.url, 30) as client:
            codes = open_joint(client).codes
            connection = Connection(client, PartyStore(tmp_path / str(number)), 24.0, own)
            if witness.public in own:
                with JointMember.join(connection, name, codes[name]) as member:
                    assert member.witnesses == ("Auditor",)
            else:
                with pytest.raises(PartiesDisagree, match="TRISEAL_TRUSTED_WITNESSES"):
                    JointMember.join(connection, name, codes[name])


def test_a_witness_cosigns_no_log_that_was_rolled_back(watched, witness, session, tmp_path):
    with WitnessClient(watched[0].url, 30, witness.key) as client:
        cosigner = Cosigner(client, tmp_path, witness.key)
        size = cosigner.cosign()
        assert size is not None and size > 1
        assert cosigner.cosign() is None, "nothing new"
        ahead = CosignerState.from_bytes((tmp_path / STATE_FILE).read_bytes())
        later = replace(ahead, size=size + 1000)  # as if the log had been larger before
        (tmp_path / STATE_FILE).write_bytes(later.to_bytes())
        with pytest.raises(LogInconsistent, match="rolled back"):
            cosigner.cosign()
        forked = replace(ahead, root=bytes(32))
        (tmp_path / STATE_FILE).write_bytes(forked.to_bytes())
        with pytest.raises(LogInconsistent, match="fork"):
            cosigner.cosign()
