"""Agents: real processes, each with its own folder, over a real HTTP server."""

import stat
import threading
from functools import partial

import pytest

from model.explanation import Outcome
from parties.__main__ import main
from parties.agent import Agent, hold_folder
from parties.client import ServerClient
from parties.command import parse
from parties.connection import Connection
from parties.joint.member import JointMember
from parties.joint.session import JointSession
from parties.store import PartyStore
from tests.parties.agents import AgentProcess, Agents
from tests.parties.running import run_python, until
from utils.errors import DataFolderInUse, NotAuthorised, UnknownApplication, UnknownParty


@pytest.fixture
def agents(tmp_path, levelled_server, levelled_oracle):
    made = []

    def make(outcome=Outcome.TURNED, readers=None):
        record = levelled_oracle.find(outcome)
        records = {p: levelled_oracle.of(p, record) for p in levelled_oracle.schema.party_names}
        made.append(Agents(tmp_path, levelled_server.url, records, readers))
        made[-1].record = record
        return made[-1]

    yield make
    for one in made:
        one.stop()


run = partial(run_python, "-m", "parties")
UNKNOWN_CODE = f"{'ab' * 16}.{'x' * 43}.{'y' * 22}"


def one_line(ended):
    """Return the one line that a failed agent printed."""
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, ended.stderr
    return lines[0]


def test_three_processes_decide_and_explain(agents, levelled_oracle):
    made = agents()
    played = [made.play(party) for party in levelled_oracle.schema.party_names]
    assert [agent.end() for agent in played] == [0, 0, 0]
    score = levelled_oracle.score(made.record)
    for agent in played:
        assert f": denied, score {score:g}.\n" in agent.printed
    owner = next(a for a in played if a.party == levelled_oracle.schema.explained_party)
    assert levelled_oracle.explanation(made.record).text in owner.printed
    prints = {agent.printed.split("fingerprint is ")[1].split("\n")[0] for agent in played}
    assert len(prints) == 1
    models = {agent.printed.split("Model fingerprint: ")[1].split(";")[0] for agent in played}
    with ServerClient(made.url, 30) as client:
        assert models == {client.model().fingerprint}
    for agent in played:
        folders = [path for path in (agent.home, *agent.home.rglob("*")) if path.is_dir()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
        files = [path for path in agent.home.rglob("*") if path.is_file()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert {path.parent.name for path in files if path.parent != agent.home} == {agent.party}


def test_application_continues_after_agent_and_server_are_killed(
    agents, levelled_oracle, levelled_server
):
    made = agents()
    first, *others = levelled_oracle.schema.party_names
    for party in others:
        made.play(party)
    one = made.start(first, "--record", str(made.files[first]))
    print_before = one.wait_for("its fingerprint is ")
    for agent in made.started:
        agent.wait_for("the encrypted record was sent")
    one.kill()
    token = made.opening.watch_token
    with ServerClient(levelled_server.url, 30) as client, levelled_server.stuck():
        again = made.play(first, join=False)
        until(lambda: client.state(made.opening.client_id, token).state == "running")
        levelled_server.kill()
        again.wait_for("cannot be reached")
        levelled_server.start()
        assert [agent.end() for agent in made.started if agent is not one] == [0, 0, 0]
        traffic = [i.what for i in client.traffic(made.opening.client_id, token).items]
    assert again.wait_for("its fingerprint is ") == print_before
    for agent in (*made.started[:2], again):
        assert f"score {levelled_oracle.score(made.record):g}." in agent.printed
    assert traffic.count("run decide") == traffic.count("ran decide") == 1


def test_a_party_that_is_not_a_reader_learns_nothing(agents, levelled_oracle):
    names = levelled_oracle.schema.party_names
    made = agents(Outcome.ALREADY_APPROVED, readers=names[:1])
    played = [made.play(party) for party in names]
    assert [agent.end() for agent in played] == [0, 0, 0]
    assert f": approved, score {levelled_oracle.score(made.record):g}.\n" in played[0].printed
    for agent in played[1:]:
        assert "decide is finished; this party is not among its readers" in agent.printed
        assert "approved" not in agent.printed and "score" not in agent.printed


def test_ctrl_c_ends_a_waiting_agent(agents, levelled_oracle):
    agent = agents().start(levelled_oracle.schema.party_names[0])
    agent.wait_for("joined.")
    assert agent.interrupt() == 0
    assert "Traceback" not in agent.printed


def test_join_code_is_read_from_stdin(agents, levelled_server, tmp_path, levelled_oracle):
    made, party = agents(), levelled_oracle.schema.party_names[0]
    code = made.opening.codes[party] + "\n"
    agent = AgentProcess(tmp_path, party, levelled_server.url, "--join", "-", stdin=code)
    made.started.append(agent)
    agent.wait_for("joined.")


def test_a_record_is_refused_before_the_code_is_used(agents, levelled_oracle):
    made, party = agents(), levelled_oracle.schema.explained_party
    good = made.files[party].read_text()
    made.files[party].write_text('{"Employed": true}')
    refused = made.play(party)
    assert refused.end() == 1 and "Years_employed is missing" in refused.printed
    made.files[party].write_text('{"Employed": false, "Years_employed": 5}')
    refused = made.play(party)
    assert refused.end() == 1 and "is not employed now has 0 years" in refused.printed
    made.files[party].write_text(good)
    made.play(party).wait_for("joined.")


def test_an_error_is_printed_as_one_line(levelled_server, tmp_path):
    home = ("--server", levelled_server.url, "--home", str(tmp_path / "home"), "--no-page")
    assert "This is not a join code" in one_line(run("--party", "bank", *home, "--join", "x"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--party", "bank", "--join", UNKNOWN_CODE), "no such application"),
        (("--party", "bank"), "--join"),
        (("--party", "bnak", "--join", UNKNOWN_CODE), "There is no party 'bnak'"),
        (("--party", "bank", "--record", "/none.json"), "cannot be read as a JSON record"),
    ],
    ids=["unknown application", "no code", "unknown party", "no record"],
)
def test_an_error_names_its_cause(levelled_server, tmp_path, capsys, words, said):
    """In this process, since a process of its own would mostly import libraries."""
    home = ("--server", levelled_server.url, "--home", str(tmp_path / "home"), "--no-page")
    assert main([*words, *home]) == 1
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def test_an_engine_with_one_key_holder_is_refused(live_server, tmp_path):
    words = ("--party", "bank", "--server", live_server.url, "--home", str(tmp_path), "--no-page")
    assert "joint" in one_line(run(*words))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--party", "../bank"],
        ["--party", "bank", "--port", "many"],
        ["--party", "bank", "--agree", "decide,erase", "--no-page"],
        ["--party", "bank", "--agree", "decide"],
        ["--party", "bank", "--record", "r.json"],
    ],
)
def test_invalid_command_line_is_refused(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(words)
    assert ended.value.code == 2 and "usage:" in capsys.readouterr().err


def test_programs_are_agreed_to_in_order():
    words = ["--party", "a", "--no-page", "--agree"]
    assert parse([*words, "reasons,explain,decide"]).agree == ("decide", "explain", "reasons")
    assert parse([*words, "reasons,decide"]).agree == ("decide", "reasons")


def test_folder_is_used_by_one_agent(tmp_path):
    with hold_folder(tmp_path / "bank"), pytest.raises(DataFolderInUse, match="--home"):
        hold_folder(tmp_path / "bank")
    hold_folder(tmp_path / "bank").close()
    assert stat.S_IMODE((tmp_path / "bank").stat().st_mode) == 0o700


def test_an_application_is_played_by_one_process_at_a_time(agents, levelled_server):
    """The lock is with the party's files, whatever program plays it, and ends with its holder."""
    made = agents()
    agent = made.start("bank")
    agent.wait_for("joined.")
    client_id = made.opening.client_id
    with ServerClient(levelled_server.url, 30) as client:
        connection = Connection(client, PartyStore(agent.home))
        with pytest.raises(DataFolderInUse, match="Another process plays bank"):
            JointMember.resume(connection, client_id, "bank")
        with pytest.raises(DataFolderInUse, match="Another process plays bank"):
            JointMember.join(connection, "bank", made.opening.codes["bank"])
        agent.kill()
        with JointMember.resume(connection, client_id, "bank") as member:
            member.advance()
            refused = made.start("bank", join=False)
            assert refused.end() == 1 and "Another process plays bank" in refused.printed
            assert "Traceback" not in refused.printed
    again = made.start("bank", join=False)
    again.wait_for("joined.")


def test_a_session_waits_for_another_process_and_then_fails(
    agents, levelled_server, tmp_path, monkeypatch
):
    monkeypatch.setattr("parties.joint.session.WAIT_SECONDS", 0.1)
    made = agents()
    connection = levelled_server.connect(tmp_path / "sessions")
    session = JointSession.join(connection, {"bank": made.opening.codes["bank"]})
    with JointMember.resume(connection, session.client_id, "bank"):
        with pytest.raises(DataFolderInUse, match="try again"):
            session.is_sent("bank", {"Account_age": 0})
        session.state()  # it uses the server only
    assert not session.is_sent("bank", {"Account_age": 0})


def test_a_closed_agent_releases_its_applications(agents, agent_of):
    agent, made = agent_of("bank"), agents()
    application = agent.join(made.opening.codes["bank"])
    assert agent.join(made.opening.codes["bank"]) is application
    agent.close()
    until(lambda: application.member.closed)
    other = agent_of("bank")
    assert other.resume().member.client_id == made.opening.client_id


@pytest.fixture
def agent_of(levelled_server, tmp_path):
    made = []

    def make(party):
        client = ServerClient(levelled_server.url, 30)
        agent = Agent(Connection(client, PartyStore(tmp_path / party)), party)
        made.append((agent, client))
        return agent

    yield make
    for agent, client in made:
        agent.close()
        client.close()


def test_a_page_that_is_loaded_twice_at_once_joins_once(agents, agent_of):
    agent, code = agent_of("bank"), agents().opening.codes["bank"]
    applications = []
    threads = [
        threading.Thread(target=lambda: applications.append(agent.join(code))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(applications) == 4 and len(set(map(id, applications))) == 1
    assert agent.application(applications[0].member.client_id) is applications[0]


def test_joined_application_requires_its_own_code(agents, agent_of):
    agent, code = agent_of("bank"), agents().opening.codes["bank"]
    client_id = agent.join(code).member.client_id
    with pytest.raises(NotAuthorised):
        agent.join(code[:-22] + "A" * 22)
    with pytest.raises(UnknownApplication):
        agent.application("ab" * 16)
    assert agent.application(client_id).member.party == "bank"
    with pytest.raises(UnknownParty):
        agent_of("nobody")


def test_an_erased_application_ends_its_agent(agents, agent_of):
    agent, made = agent_of("bank"), agents()
    application = agent.join(made.opening.codes["bank"])
    serial = application.serial
    other = agent_of("applicant").join(made.opening.codes["applicant"])
    other.member.erase()
    while not application.over:
        new = application.wait(serial, 30)
        assert new != serial, "nothing was noticed"
        serial = new
    assert "erased" in application.over
