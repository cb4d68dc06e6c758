"""No file, log, message or memory of the server or of another party contains a party's secret.

Real processes run a complete application. Then every party's secrets, read from its own folder, are
searched for everywhere else, in every form that occurs (tests/privacy/search.py): the share of the
key, the smudge key, the signing and exchange keys, the group secret (which the server must not
have), the pairwise keys, the record. Controls: all forms are found in a process that contains them,
and the secrets are found in their own places.
"""

from __future__ import annotations

import itertools
import json
import stat
import struct
import subprocess
import sys
from dataclasses import dataclass

import pytest

from engines.deployment import Deployment
from engines.interface import DECIDE, ENCRYPTED_INPUTS, EXPLAIN
from engines.levelled.keys import SecretShare
from engines.levelled.parameters import DEFAULT
from engines.registry import load_joint_party_engine
from parties.joint.channel import GROUP_SECRET_BYTES, Identity
from parties.joint.messages import SHARE_OPEN
from parties.joint.protocol import JointProtocol
from parties.joint.state import ProtocolState
from tests.privacy.played import RECORDS, held_by_the_server, play
from tests.privacy.search import MIDDLE, SHORT, Form, Search, family, forms_of_key, forms_of_secret
from tests.privacy.small import PARTIES

GROUP = "the group"
SERVER = "server"
MOMENTS = ("after the records were sent", "after everything was opened")


@dataclass(frozen=True)
class Secrets:
    """Forms by owner; `pairs` by the two parties that share the key."""

    of: dict[str, list[Form]]
    pairs: dict[tuple[str, str], list[Form]]
    group: list[Form]

    @property
    def all(self) -> list[Form]:
        every = [*self.of.values(), *self.pairs.values(), self.group]
        return list(itertools.chain.from_iterable(every))

    def foreign_to(self, who: str) -> set[str]:
        """Return the forms that must not be found at `who`; for the server, all of them."""
        own = [*self.of.get(who, [])]
        own += [f for pair, forms in self.pairs.items() if who in pair for f in forms]
        own += self.group if who in PARTIES else []
        return {str(form) for form in self.all} - {str(form) for form in own}


@pytest.fixture(scope="module")
def played(tmp_path_factory, levelled_deployment):
    made = play(tmp_path_factory.mktemp("played"), levelled_deployment)
    try:
        made.join_and_send()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def secrets(played, schema, layout):
    return Secrets(
        of={party: own_secrets(played, layout, party) for party in PARTIES},
        pairs=shared_keys(played),
        group=forms_of_key(GROUP, "group secret", identity_bytes(played, "bank")[:16]),
    )


def identity_bytes(played, party):
    return (played.files(party) / "identity").read_bytes()


def own_secrets(played, layout, party):
    secret = SecretShare.from_bytes((played.files(party) / "secret_key").read_bytes(), DEFAULT)
    rest = identity_bytes(played, party)[GROUP_SECRET_BYTES:]
    token = (played.files(party) / "token").read_bytes()
    forms = forms_of_secret(party, secret)
    forms += forms_of_key(party, "signing key", rest[:32])
    forms += forms_of_key(party, "exchange key", rest[32:])
    forms.append(Form(party, "record as JSON", json.dumps(RECORDS[party]).encode(), SHORT))
    for column, value in RECORDS[party].items():
        if isinstance(value, float):
            forms.append(Form(party, f"{column} as text", repr(value).encode(), SHORT))
            forms.append(Form(party, f"{column} as a double", struct.pack("<d", value), SHORT))
    if party == "applicant":  # the other parties' bits are too few to search for
        bits = layout.encode_party(party, RECORDS[party])
        forms.append(Form(party, "bits", bits.astype("u1").tobytes(), SHORT))
    assert len(token) > 20
    return forms


def shared_keys(played):
    """Return the pairwise keys, computed by each of the two parties from its own folder."""
    found = {}
    with played.client() as client:
        public = client.model()
        engine = load_joint_party_engine(public, client.client_files())
    for party in PARTIES:
        protocol = JointProtocol.resume(
            engine,
            public,
            party,
            played.opening.client_id,
            Identity.from_bytes(identity_bytes(played, party)),
            (played.files(party) / "protocol.json").read_bytes(),
            (played.files(party) / "secret_key").read_bytes(),
        )
        for other, key in protocol.conversation.channel.pairwise.items():
            pair = tuple(sorted((party, other)))
            assert found.setdefault(pair, key) == key  # both derive the same
    assert len(set(found.values())) == 3
    return {pair: forms_of_key("+".join(pair), "pairwise key", k) for pair, k in found.items()}


@pytest.fixture(scope="module")
def search(secrets):
    return Search(secrets.all)


def searched(search, pids):
    """Return the forms found and the bytes searched; skips if memory must not be read."""
    found, total = set(), 0
    try:
        for pid in pids:
            forms, size = search.in_process(pid)
            found, total = found | forms, total + size
    except PermissionError as error:
        pytest.skip(f"the system does not let /proc/PID/mem be read: {error}")
    return found, total


@pytest.fixture(scope="module")
def files_before(played, search):
    """By party, the forms found in its folder while something is still to be opened."""
    return {party: search.in_folder(played.home(party)) for party in PARTIES}


@pytest.fixture(scope="module")
def memories(played, search, files_before):
    """By moment and process, the forms found in its memory and the number of bytes searched."""

    def now():
        server = searched(search, family(played.server_pid))
        agents = {party: searched(search, [played.agents[party].pid]) for party in PARTIES}
        return {SERVER: server} | agents

    first = now()
    played.restart_and_open()
    return dict(zip(MOMENTS, (first, now()), strict=True))


@pytest.fixture(scope="module")
def finished(played, memories):
    """The application after all results were opened."""
    return played


def test_search_finds_every_form_in_a_process(secrets, search):
    """Control: the forms are passed to a process, at odd addresses, and found there."""
    code = "import sys, time; data = sys.stdin.buffer.read(); print(1, flush=True); time.sleep(99)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        doubles = [form for form in secrets.all if form.name.endswith("as a double")]
        others = [form for form in secrets.all if form not in doubles]
        held = b"".join(form.data for form in doubles)  # a double is never at an odd address
        held += b"".join(bytes(i % 8 + 1) + form.data for i, form in enumerate(others))
        process.stdin.write(held)
        process.stdin.close()
        process.stdout.readline()
        found, _ = searched(search, [process.pid])
    finally:
        process.kill()
        process.wait()
    missing = {str(form) for form in others} - found
    assert missing == set()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("who", [SERVER, *PARTIES])
def test_no_process_memory_contains_another_partys_secret(memories, secrets, who, moment):
    found, size = memories[moment][who]
    assert size > 30e6  # the whole process was read
    assert found & secrets.foreign_to(who) == set()


@pytest.mark.parametrize("party", PARTIES)
def test_a_secret_is_found_in_its_own_process(memories, party):
    """Control for the search of memories: the secret is found in its owner's process."""
    found, _ = memories[MOMENTS[0]][party]
    assert {f"packed secret of {party}", f"smudge key of {party}"} <= found
    assert f"group secret of {GROUP}" in found


@pytest.mark.parametrize("moment", MOMENTS)
def test_server_memory_contains_the_application_id(played, memories, finished, moment):
    """Control for the search of the server: its memory does contain the application's id."""
    form = Form(SERVER, "id", played.opening.client_id.encode(), SHORT)
    found, _ = searched(Search([form]), family(played.server_pid))
    assert found == {str(form)}


def test_server_files_contain_no_secret(finished, search):
    folder = held_by_the_server(finished)
    assert search.in_folder(folder) == set()
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) > 5e6


def test_server_folder_contains_results_and_sealed_messages(finished):
    """Control for the search of the server's files: a fetched result is found there."""
    state = ProtocolState.from_bytes((finished.files("bank") / "protocol.json").read_bytes())
    bodies = [message.body for message in state.outbox if message.step == SHARE_OPEN]
    said = Form("bank", "sealed share", bodies[0], MIDDLE)
    result = (finished.files("bank") / "decide.result").read_bytes()
    fetched = Form("bank", "result", result, MIDDLE)
    assert Search([said, fetched]).in_folder(held_by_the_server(finished)) == {str(fetched)}


@pytest.mark.parametrize("party", PARTIES)
def test_party_files_contain_no_other_partys_secret(finished, secrets, search, party):
    found = search.in_folder(finished.home(party))
    assert found & secrets.foreign_to(party) == set()
    assert f"record as JSON of {party}" in found  # the control


@pytest.mark.parametrize("party", PARTIES)
def test_no_key_remains_after_all_results_are_opened(
    finished, files_before, secrets, search, party
):
    own = {f"packed secret of {party}", f"smudge key of {party}", f"signing key of {party}"}
    own |= {f"exchange key of {party}", f"group secret of {GROUP}"}
    assert own <= files_before[party]  # the control
    found = search.in_folder(finished.home(party))
    assert not own & found
    pairs = {str(form) for forms in secrets.pairs.values() for form in forms}
    assert not pairs & found


def test_relayed_messages_contain_no_secret(finished, search):
    """All bodies as the server keeps them, fetched with every party's token."""
    bodies = {}
    with finished.client() as client:
        for party in PARTIES:
            token, after = (finished.files(party) / "token").read_text(), 0
            while shown := client.messages(finished.opening.client_id, token, after).messages:
                bodies |= {message.number: message.body for message in shown}
                after = shown[-1].number
    # Shares of the reasons go to the applicant alone.
    assert len(bodies) == 3 * (4 + 3 + 3 + 2 * 2) + 2
    found = set()
    for body in bodies.values():
        found |= search.in_bytes(body + bytes(1024))
    assert found == set()


@pytest.mark.parametrize("who", [SERVER, *PARTIES])
def test_logs_contain_no_secret_token_or_code(finished, search, who):
    log = finished.server_log if who == SERVER else finished.log(who)
    text = log.read_bytes()
    assert len(text) > 100 or who == SERVER
    assert search.in_bytes(text + bytes(1024)) == set()
    for secret in spoken_secrets(finished):
        assert secret not in text


def spoken_secrets(played):
    """Return the tokens and codes, as sent in requests."""
    tokens = [(played.files(party) / "token").read_bytes() for party in PARTIES]
    parts = [part for code in played.opening.codes.values() for part in code.split(".")[1:]]
    return [*tokens, played.opening.watch_token.encode(), *(part.encode() for part in parts)]


def test_server_stores_no_token_or_code(finished):
    """It stores their digests, so that a reader of its disk cannot impersonate a party."""
    for path in held_by_the_server(finished).rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert [s for s in spoken_secrets(finished) if s in data] == []


def test_a_partys_files_are_readable_by_their_owner_only(finished):
    for party in PARTIES:
        for path in [finished.home(party), *finished.home(party).rglob("*")]:
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path


def test_the_parties_opened_the_correct_results(finished, levelled_deployment, layout):
    """Otherwise the tests above would prove nothing."""
    record = {name: value for part in RECORDS.values() for name, value in part.items()}
    bits = layout.encode(record)[None]
    programs = Deployment.load(levelled_deployment).programs_of("levelled")
    for party in PARTIES:
        kept = json.loads((finished.files(party) / "member.json").read_text())["scores"]
        for program in (DECIDE, EXPLAIN):
            assert kept[program] == programs[program].scores(bits)[0].tolist()


def test_every_record_is_encrypted_and_sent_once(finished):
    """Every upload uses fresh randomness and megabytes: an agent must not repeat it."""
    with finished.client() as client:
        token = (finished.files("bank") / "token").read_text()
        items = client.traffic(finished.opening.client_id, token).items
    sent = sorted(item.sender for item in items if item.what == ENCRYPTED_INPUTS)
    assert sent == sorted(PARTIES)
