import pytest

from parties.joint.session import JointSession
from tests.parties.running import LiveServer, Oracle
from tests.witness.running import Table, WitnessProcess


@pytest.fixture(scope="session")
def watched(tmp_path_factory, signs_deployment):
    """A server with one witness, whose process is not started yet, and that process."""
    folder = tmp_path_factory.mktemp("watched")
    server = LiveServer(folder, signs_deployment, "levelled")
    witness = WitnessProcess(folder, signs_deployment, server.url)
    server.settings["witnesses"] = f"Auditor={witness.public}"
    server.start()
    yield server, witness
    witness.kill()
    server.stop()
    assert "Exception in ASGI application" not in server.log()


@pytest.fixture(scope="session")
def oracle(signs_deployment):
    return Oracle(signs_deployment, "levelled")


@pytest.fixture
def witness(watched):
    """The witness, stopped before and after the test."""
    yield watched[1]
    watched[1].kill()


@pytest.fixture
def session(watched, oracle, tmp_path):
    """A session of all parties whose records are sent."""
    connection = watched[0].connect(tmp_path / "parties")
    made = JointSession.open(connection)
    made.make_keys()
    record = oracle.default()
    for party in oracle.schema.party_names:
        made.send(party, oracle.of(party, record))
    yield made
    made.discard()
    connection.client.close()


@pytest.fixture
def table(session):
    made = Table(session)
    yield made
    made.close()
