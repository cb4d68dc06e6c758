"""All decoders of untrusted bytes, each with valid samples.

The short runs of `make test` and the long one of `make fuzz` use these decoders. A decoder may
raise the errors of utils/errors.py and no others.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import httpx
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel

from contract.http import WitnessedResult
from engines.concrete.structure import Structure
from engines.envelope import Header, seal, unseal, unseal_as
from engines.interface import CHALLENGE, DECIDE, MASKED_OF, SIGN_OF, Slot
from engines.levelled.encryption import encrypt_bits
from engines.levelled.keys import PublicKey, SecretShare
from engines.levelled.masks import MaskFormat, decode_masks, draw_words, encrypt_masks
from engines.levelled.messages import (
    RESULT,
    ClientFacts,
    ProgramBudget,
    header,
    join_inputs,
    split_inputs,
)
from engines.levelled.opening import Result
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS, SEED_BYTES
from engines.levelled.randomness import Expander
from engines.levelled.results import coefficients_of_parts, split_shares
from engines.levelled.words import sum_of_words, words_to_bytes
from engines.payload import join_parts, read_parts, split_parts
from engines.registry import load_joint_party_engine, load_server_engine
from engines.statement import Statement, verify_statement
from engines.zip_files import pack, unpack
from features.encoding import Layout
from features.records import parse_records
from features.schema import Schema
from federated.agents.membership import MemberState
from federated.agents.state_file import restored
from federated.aggregation.lock_state import LockState
from federated.aggregation.statement import Step
from federated.aggregation.upload import Upload
from federated.boosting.trees import Split, Splits
from federated.boosting.usable_bits import UsableBits
from federated.plan import Plan
from federated.protocol import messages as trained
from federated.protocol.coordinator import CoordinatorState, LenderState
from federated.protocol.lender import LenderProgress
from federated.scorecard import SCHEMA as SCORECARD
from federated.scorecard import record_of
from governance.permits import Use, issue, key_named_in, verify
from governance.receipts import Receipt
from governance.requests import SignedRequest
from parties.client import ServerClient
from parties.joint.channel import Channel, FirstWords, Identity, Place
from parties.joint.codes import JoinCode
from parties.joint.identities import IdentityKey
from parties.joint.messages import (
    Agreement,
    Confirmation,
    Hello,
    JointMessage,
    Partial,
    RecordCommit,
    ShareCommit,
    ShareOpen,
    decode,
    encode,
)
from parties.joint.state import ProtocolState
from parties.trainings_client import TrainingsClient
from parties.trust_file import TrustFile
from service.http.upload_form import FIELDS, FILE, FormReader
from settings import ROOT
from tests.governance.requests_for_tests import (
    OWNER_KEY,
    REQUESTER_KEY,
    a_receipt,
    a_request,
    public,
)
from training.south_german import MEMBER, NAMES, rows_of, table_of
from trials.stand_in import public_model
from utils.errors import TrisealError
from utils.signed_requests import authorization, signer_of
from utils.witness_list import parse_witnesses
from witness.client import WitnessClient
from witness.key import public_hex

WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WITNESS = public_hex(WITNESS_KEY)

REQUEST = a_request()
USE = Use("bank", "0f" * 16, "urn:triseal:server", "decide", "0f" * 32, {"bank/x": "0f" * 32})
HEADER = Header(engine="levelled", model="0f" * 16, kind="encrypted_inputs", party="bank")
APPLICATION = "0123456789abcdef" * 2
BITS = 2
FORM = "multipart/form-data; boundary=b"
SHA256 = "0f" * 32
STATEMENT = Statement(APPLICATION, "decide", SHA256, {"bank/encrypted_inputs": SHA256}, SHA256)


@dataclass(frozen=True)
class Decoder:
    """A decoder: `read` accepts any bytes; `samples` are inputs that it reads without an error."""

    samples: tuple[bytes, ...]
    read: Callable[[bytes], object]


def _resealed(read: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Return `read` for bytes in an envelope with a correct digest, as any sender can make one."""
    return lambda payload: read(bytes(unseal(seal(HEADER, payload))[1]))


def form_of(fields: Mapping[str, bytes], file: bytes) -> bytes:
    parts = [*fields.items(), (FILE, file)]
    return b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in parts
    ) + b"--b--\r\n"  # fmt: skip


def _read_form(content: bytes) -> None:
    """Read the form at once and in small pieces; if both succeed, the forms must be equal."""
    found = []
    for step in (7, max(1, len(content))):
        reader, file = FormReader(FORM), b""
        try:
            for start in range(0, len(content), step):
                file += b"".join(reader.feed(content[start : start + step]))
            reader.finish()
        except TrisealError:
            if step != 7:
                raise
        else:
            found.append((file, reader.fields))
    if any(one != found[0] for one in found):
        raise AssertionError(f"the result depends on the pieces: {found}")


def _server_says(call: Callable[[ServerClient], object]) -> Callable[[bytes], object]:
    """Return a decoder that passes its input to `call` as a response with status 200 and 400."""

    def read(content: bytes) -> None:
        for status in (400, 200):
            answer = httpx.MockTransport(lambda _, s=status: httpx.Response(s, content=content))
            with ServerClient("http://server", 5.0, answer) as client:
                try:
                    call(client)
                except Exception:
                    if status == 200:
                        raise

    return read


@cache
def _identities() -> tuple[Identity, Identity]:
    secret = os.urandom(16)
    return Identity.fresh(secret), Identity.fresh(secret)


@cache
def _channels() -> tuple[Channel, Channel]:
    one, two = _identities()
    digest = bytes(32)
    return (
        Channel("bank", one, {"applicant": two.public}, digest),
        Channel("applicant", two, {"bank": one.public}, digest),
    )


def _place(receiver: str | None) -> Place:
    return Place(APPLICATION, "model", "bank", receiver, "share_open")


def _joint_messages() -> Iterable[tuple[type[JointMessage], JointMessage]]:
    key, nonce = bytes(range(32)), bytes(32)
    for message in (
        Hello(
            model_version="m",
            model_sha256=SHA256,
            client_sha256=SHA256,
            readers=("bank", "x"),
            explanation_readers=("bank",),
            witnesses={WITNESS: "Auditor"},
            signing_key=key,
            exchange_key=key,
            seed=key,
            identity_key=key,
            identity_signature=bytes(64),
        ),
        ShareCommit(digest=SHA256),
        RecordCommit(inputs=SHA256, nonce=SHA256),
        RecordCommit(inputs=SHA256, masks=SHA256, nonce=SHA256),
        ShareOpen(share=bytes(200), nonce=nonce),
        Agreement(
            program="decide",
            inputs={"bank": SHA256},
            public_key_digest=SHA256,
            masks=SHA256,
            nonce=nonce,
        ),
        Confirmation(program="decide", result_sha256=SHA256),
        Partial(program="decide", result_sha256=SHA256, share=bytes(72)),
    ):
        yield type(message), message


@cache
def decoders() -> dict[str, Decoder]:
    """Return all decoders by name; built once, since some samples take a moment."""
    sealed = (seal(HEADER, b"the payload"), seal(HEADER.model_copy(update={"party": None}), b""))
    randomness = Expander.fresh()
    key = PublicKey(bytes(SEED_BYTES), randomness.uniform_words(DEFAULT.n))
    inputs = join_inputs(
        key.digest, encrypt_bits(np.array([1, 0], np.uint8), key, DEFAULT, randomness), DEFAULT
    )
    mask_format = MaskFormat.of(DEFAULT, score_bits=4, parties=2)
    masks = encrypt_masks(draw_words(1, randomness), key, mask_format, randomness)
    secret = SecretShare(randomness.ternary(DEFAULT.n), bytes(SEED_BYTES)).to_bytes()
    result = Result(
        randomness.uniform_words(DEFAULT.n), randomness.uniform_words(1 + KNOWN_ZEROS)
    ).to_bytes()
    budget = ProgramBudget(score_bits=12, sigma_flood=2.0**-18, sigma_smudge=2.0**-19)
    client = ClientFacts(profile=DEFAULT.profile, budgets={"decide": budget}).to_archive()
    parts = join_parts([b"one", b"three"])
    words = words_to_bytes(randomness.uniform_words(16))
    structure = Structure.of(bytes(64), bytes(32) + os.urandom(32))
    fields = {name: f"value of {name}".encode() for name in FIELDS}
    found: dict[str, Decoder] = {
        "envelope": Decoder(sealed, unseal),
        "envelope, compared": Decoder(sealed, lambda data: unseal(memoryview(data), intact=True)),
        "envelope, as expected": Decoder(sealed[:1], lambda data: unseal_as(HEADER, data)),
        "header": Decoder(
            (HEADER.model_dump_json().encode(),),
            lambda data: unseal(_with_header(data)),
        ),
        "parts of known sizes": Decoder(
            (parts,), lambda data: split_parts(memoryview(data), [3, 5])
        ),
        "parts": Decoder((parts,), lambda data: read_parts(memoryview(data), 2)),
        "archive": Decoder((client, pack({"a": bytes(9000), "b": b""})), unpack),
        "client files": Decoder((client,), ClientFacts.from_archive),
        "structure of Concrete": Decoder((bytes(64),), structure.holds),
        "words": Decoder((words,), lambda data: sum_of_words({"a": data, "b": words}, 16)),
        "public key": Decoder(
            (key.to_bytes(),), _resealed(lambda data: PublicKey.from_bytes(data, DEFAULT).digest)
        ),
        "encrypted inputs": Decoder(
            (inputs,), _resealed(lambda data: split_inputs(data, BITS, DEFAULT))
        ),
        "encrypted masks": Decoder(
            (masks,), _resealed(lambda data: decode_masks(data, key, mask_format, 1).decode())
        ),
        "result": Decoder(
            (result,), _resealed(lambda data: Result.from_bytes(data, DEFAULT, 1 + KNOWN_ZEROS))
        ),
        "secret": Decoder((secret,), lambda data: SecretShare.from_bytes(data, DEFAULT)),
        "form": Decoder((form_of(fields, b"a file"), form_of(fields, bytes(300))), _read_form),
        "content type of a form": Decoder(
            (FORM.encode(), b'multipart/form-data; boundary*=utf-8\'\'b; x="\\""'),
            lambda data: FormReader(data.decode("latin-1")),
        ),
        "join code": Decoder(
            (str(JoinCode(APPLICATION, "code", bytes(16))).encode(),),
            lambda data: JoinCode.parse(data.decode("utf-8", "surrogateescape")),
        ),
        "list of witnesses": Decoder(
            (f"Auditor={WITNESS}, Other={'0' * 64}".encode(),),
            lambda data: parse_witnesses(data.decode("utf-8", "surrogateescape")),
        ),
        "signed request": Decoder(
            (authorization(WITNESS_KEY, "GET", "/witness/tasks", b"", 1e9).encode(),),
            lambda data: signer_of(
                data.decode("latin-1"), "GET", "/witness/tasks", b"", 1e9, [WITNESS]
            ),
        ),
        "permit": Decoder(
            (issue(WITNESS_KEY, USE, 1e9).encode(),),
            lambda data: verify(data.decode("latin-1"), bytes.fromhex(WITNESS), USE, 1e9),
        ),
        "key of a permit": Decoder(
            (issue(WITNESS_KEY, USE, 1e9).encode(),),
            lambda data: key_named_in(data.decode("latin-1")),
        ),
        "access request": Decoder(
            (SignedRequest.sign(REQUEST, REQUESTER_KEY).to_bytes(),), SignedRequest.parse
        ),
        "consent receipt": Decoder(
            (a_receipt().to_bytes(),), lambda data: Receipt.parse(data, public(OWNER_KEY).hex())
        ),
        "identity": Decoder((_identities()[0].to_bytes(),), Identity.from_bytes),
        "identity key": Decoder((IdentityKey.fresh().to_pem(),), IdentityKey.from_pem),
        "trust file": Decoder(
            (f"# pins\nbank = {SHA256}\n".encode(),), lambda data: TrustFile.parse(data, "pins")
        ),
        "protocol state": Decoder((ProtocolState().to_bytes(),), ProtocolState.from_bytes),
        "signature of a witness": Decoder(
            (STATEMENT.sign(WITNESS_KEY),),
            lambda data: verify_statement(STATEMENT, bytes.fromhex(WITNESS), data, "Auditor"),
        ),
        **_files(),
        **_data_files(),
        **_federated(),
        **_sealed_words(),
        **_answers(),
        **_witness_answers(),
    }
    for kind, message in _joint_messages():
        found[f"joint {kind.__name__}"] = Decoder(
            (encode(message),), lambda data, kind=kind: decode(kind, data)
        )
    return found


def _files() -> dict[str, Decoder]:
    """Return decoders of the small files that the deployed engine's two halves exchange."""
    server = load_server_engine("levelled", ROOT / "deployment_files")
    party = load_joint_party_engine(server.public, server.client_files())
    version, first = server.public.model_version, server.public.schema_.party_names[0]
    profile = server._parameters.profile

    def checked(slot: Slot) -> Decoder:
        payload = bytes(server._payload_bytes(slot.party, slot.file_name))
        sealed = seal(header(version, slot.file_name, slot.party, profile=profile), payload)
        return Decoder((sealed,), lambda data: server.check(slot, data))

    found = {
        f"slot {slot.file_name}": checked(slot)
        for slot in server.public.slots
        if slot.party == first and slot.file_name in (CHALLENGE, *MASKED_OF.values())
    }
    sizes = coefficients_of_parts(server.public, DECIDE)
    results = bytes(sum(DEFAULT.result_bytes(count) for count in sizes))
    shares = bytes(sum(8 * count for count in sizes))
    found["result with checks"] = Decoder(
        (seal(header(version, RESULT, program=DECIDE, profile=profile), results),),
        lambda data: party.check_result(DECIDE, data),
    )
    found["shares with checks"] = Decoder(
        (shares,), lambda data: split_shares({"bank": data}, sizes)
    )
    sign, none = SIGN_OF[DECIDE], np.zeros(DEFAULT.n, np.uint64)
    opened = [Result(none, np.array([1 << 62], np.uint64)), Result(none, none[:KNOWN_ZEROS])]
    result = seal(
        header(version, RESULT, program=sign, profile=profile),
        b"".join(part.to_bytes() for part in opened),
    )
    found["result of signs"] = Decoder((result,), lambda data: party.check_result(sign, data))
    found["shares of signs"] = Decoder(
        (bytes(8 * (1 + KNOWN_ZEROS)),),
        lambda data: party.combine(sign, result, dict.fromkeys(server._parties, data)),
    )
    return found


def _data_files() -> dict[str, Decoder]:
    """Return decoders of files with a lender's rows, and of the scorecard's body."""
    layout = Layout(Schema.load(ROOT / "features" / f"{SCORECARD}.json"))
    body = {"age": 22, "sex": "female", "job": 2, "housing": "own", "credit": 5951}
    body |= {"duration": 48, "purpose": "radio/TV"}
    rows = (
        b"age,sex,job,housing,credit,purpose,duration,credit_risk\n"
        b"22,female,skilled,own,5951,radio/TV,48,1\n61,,skilled,rent,900.5,others,6,no\n"
    )
    table = f"{' '.join(NAMES)}\n{'1 ' * len(NAMES)}\n".encode()
    archive = io.BytesIO()
    with ZipFile(archive, "w", ZIP_DEFLATED) as file:
        file.writestr(MEMBER, table)
    return {
        "records": Decoder((rows,), lambda data: parse_records(data, layout)),
        "South German Credit data": Decoder(
            (table, archive.getvalue()), lambda data: rows_of(table_of(data))
        ),
        "body of the scorecard": Decoder(
            (json.dumps(body).encode(),), lambda data: record_of(_json_object(data), layout)
        ),
    }


def _federated() -> dict[str, Decoder]:
    """Return decoders of a training's messages, state files and relayed bodies."""
    key, step, names = bytes(range(32)), Step(0), ("a", "b", "c")
    usable = UsableBits(bits=(0, 3), rows=40)
    split = Split(node=0, bit=3, left=-5, right=5)
    splits = Splits(tree=0, level=0, root=1, splits=(split,))
    results = (
        trained.Counted(usable=usable),
        trained.Grown(lenders=names, splits=splits, auc=0.5),
        trained.Ended(tree=0, lost=("b",)),
        trained.Stopped(trees=1, auc=0.5, last_auc=0.5),
    )
    plan = Plan(schema=Schema.load(ROOT / "features" / f"{SCORECARD}.json"))
    hello = trained.Hello(
        name="a",
        signing_key=key,
        exchange_key=key,
        plan=plan,
        identity_key=key,
        identity_signature=bytes(64),
    )
    upload = Upload(step, key, bytes(64), key, (bytes(80), bytes(80)), bytes(24)).to_bytes()
    signatures = dict.fromkeys(names, bytes(64))
    coordinators: tuple[BaseModel, ...] = (
        hello,
        trained.Start(hellos={"a": SHA256}),
        trained.Ask(first=0, results=results, step=step, roster=names),
        trained.AllUploaded(step=step, signatures=signatures),
        trained.Recover(step=step, shares={"b": bytes(80)}),
        trained.Finished(first=0, results=results),
        trained.Cancelled(reason="r"),
    )
    lenders: tuple[BaseModel, ...] = (
        trained.Ready(plan=SHA256),
        trained.Refused(code="c", reason="r"),
        trained.Uploaded(upload=upload),
        trained.Revealed(step=step, seed=key),
        trained.Recovered(step=step, shares={"b": key}),
        trained.Back(results=2),
    )
    locks = LockState(run=key, me="a", own_root=key, pair_roots={"b": key, "c": key})
    progress = LenderProgress(results=list(results), transcript=key, locks=locks)
    lenders_seen = {name: LenderState() for name in names}
    seen = CoordinatorState(lenders=lenders_seen, results=list(results), transcript=key)
    member = MemberState(
        training_id=APPLICATION, me="a", members=names, token=SHA256, identity=key, master=key
    )
    states: dict[str, BaseModel] = {
        "lender": progress,
        "coordinator": seen,
        "member": member,
        "lock": locks,
    }
    return {
        "training: from the coordinator": Decoder(
            tuple(trained.encode(one) for one in coordinators), trained.decode_from_coordinator
        ),
        "training: from a lender": Decoder(
            tuple(trained.encode(one) for one in lenders),
            lambda data: trained.decode_from_lender("a", data),
        ),
        "training: upload": Decoder((upload,), Upload.from_bytes),
        "training: plan": Decoder(
            (plan.model_dump_json(by_alias=True).encode(),),
            lambda data: Plan.parse(_json_object(data)),
        ),
        **{
            f"training: state of a {name}": Decoder(
                (state.model_dump_json().encode(),), partial(restored, type(state))
            )
            for name, state in states.items()
        },
        **_relayed(),
    }


def _relayed() -> dict[str, Decoder]:
    """Return decoders of the server's responses about trainings."""
    message = {"id": 1, "sender": "a", "to": None, "number": 1, "body": "c2VhbGVk"}
    exchanged = {"numbers": [], "messages": [message], "after": 1, "state": "open"}
    joined = {"token": "t", "members": ["a", "b", "c"], "expires_at": "2026-01-02T00:00:00Z"}
    hosted = {
        "training_id": APPLICATION,
        "token": "t",
        "codes": {"a": "1", "b": "2", "c": "3"},
        "expires_at": "2026-01-02T00:00:00Z",
    }
    given = [b""]
    answer = httpx.MockTransport(lambda _: httpx.Response(200, content=given[0]))
    client = TrainingsClient("http://server", 5.0, answer)

    def said(call: Callable[[TrainingsClient], object], sample: object) -> Decoder:
        def read(content: bytes) -> None:
            given[0] = content
            call(client)

        return Decoder((json.dumps(sample).encode(),), read)

    return {
        "answer: training's messages": said(lambda one: one.exchange(APPLICATION, "t"), exchanged),
        "answer: training joined": said(
            lambda one: one.join_training(APPLICATION, "a", "c"), joined
        ),
        "answer: training hosted": said(
            lambda one: one.host_training(WITNESS_KEY, ["a", "b", "c"]), hosted
        ),
    }


def _json_object(data: bytes) -> dict[str, Any]:
    """Return an object as a server would; anything else becomes an object without fields."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _witness_answers() -> dict[str, Decoder]:
    """Return decoders of the server's responses to a witness."""
    task = {
        "id": APPLICATION,
        "client_id": APPLICATION,
        "program": "decide",
        "model_sha256": SHA256,
        "messages": [{"party": "bank", "file_name": "encrypted_inputs", "bytes": 9}],
        "done": True,
    }
    result = WitnessedResult.of(b"result", bytes(32)).model_dump_json().encode()

    given = [b""]
    client = WitnessClient("http://server", 5.0, WITNESS_KEY)
    client._transport = httpx.MockTransport(lambda _: httpx.Response(200, content=given[0]))
    client._http = client._client()

    def said(call: Callable[[WitnessClient], object], sample: bytes) -> Decoder:
        def read(content: bytes) -> None:
            given[0] = content
            call(client)

        return Decoder((sample,), read)

    return {
        "answer: witness's tasks": said(
            lambda client: client.tasks(), json.dumps({"items": [task], "tag": "1"}).encode()
        ),
        "answer: witness's result": said(lambda client: client.result(APPLICATION), result),
    }


def _with_header(text: bytes) -> bytes:
    """Return a message with any header and a correct digest."""
    body = b"TRISEAL1" + len(text).to_bytes(4, "little") + text
    return body + hashlib.sha256(body).digest()


def _sealed_words() -> dict[str, Decoder]:
    """Return decoders of sealed hellos and later messages, as delivered by the relay."""
    one, two = _identities()
    ours, theirs = _channels()
    hello = FirstWords(APPLICATION, one).seal(_place(None), b"a first word")
    reader = FirstWords(APPLICATION, two)
    return {
        "first word": Decoder((hello,), lambda data: reader.open(_place(None), data)),
        "word to all": Decoder(
            (ours.seal(_place(None), b"a word"),), lambda data: theirs.open(_place(None), data)
        ),
        "word to one": Decoder(
            (ours.seal(_place("applicant"), b"a word"),),
            lambda data: theirs.open(_place("applicant"), data),
        ),
    }


def _answers() -> dict[str, Decoder]:
    """Return decoders of a server's responses; the server is not trusted."""
    state: dict[str, Any] = {
        "client_id": APPLICATION,
        "state": "open",
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
        "joined": ["bank"],
        "readers": ["bank"],
        "witnesses": [{"name": "Auditor", "key": WITNESS}],
        "slots": [
            {
                "party": "bank",
                "file_name": "encrypted_inputs",
                "needed_for": ["decide"],
                "received_bytes": None,
                "sha256": None,
            }
        ],
        "programs": {
            "decide": {
                "status": "idle",
                "progress": 0.0,
                "statements": {WITNESS: {"signature": "00" * 64, "refusal": None}},
            }
        },
        "missing": {"decide": ["bank: encrypted_inputs"]},
    }
    opened = {
        "client_id": APPLICATION,
        "expires_at": "2026-01-02T00:00:00Z",
        "join_codes": {"bank": "code"},
        "watch_token": "token",
        "readers": ["bank"],
    }
    relayed = {
        "messages": [
            {
                "number": 1,
                "sender": "bank",
                "receiver": None,
                "step": "hello",
                "body": base64.b64encode(b"sealed").decode(),
            }
        ],
        "state": state,
        "tag": "0f",
    }
    problem = {
        "type": "urn:triseal:error:out-of-step",
        "title": "Out of step",
        "status": 409,
        "detail": "decide cannot run yet.",
    }

    def said(call: Callable[[ServerClient], object], *contents: object) -> Decoder:
        samples = (*contents, problem)
        return Decoder(tuple(json.dumps(each).encode() for each in samples), _server_says(call))

    model = public_model().model_dump(mode="json", by_alias=True)
    return {
        "answer: model": said(lambda client: client.model(), model),
        "answer: opened": said(lambda client: client.open_application(), opened),
        "answer: state": said(lambda client: client.state(APPLICATION, "t"), state),
        "answer: messages": said(lambda client: client.messages(APPLICATION, "t"), relayed),
        "answer: exchanged": said(
            lambda client: client.exchange(APPLICATION, "t"), relayed | {"numbers": [], "after": 1}
        ),
        "answer: witnesses": said(
            lambda client: client.witnesses(), {"items": [{"name": "Auditor", "key": WITNESS}]}
        ),
        "answer: seconds": said(lambda client: client.run(APPLICATION, "t"), 0.5),
    }
