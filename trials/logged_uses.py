"""A log with uses of all kinds, made as owners, requesters, a witness and cosigners make them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engines.statement import Statement
from governance.log.checkpoint import Checkpoint, CosignerState, Note, sign_checkpoint
from governance.log.decision_file import (
    DecisionFile,
    Grant,
    Inclusion,
    LogKey,
    SignedStatement,
    Trust,
    make_entry,
)
from governance.log.entries import Entry, Kind, pseudonym
from governance.log.merkle import (
    MemoryNodes,
    append,
    consistency_proof,
    inclusion_proof,
    root,
)
from governance.permits import Use, issue
from governance.receipts import Allowed, Receipt, ReceiptEvent
from governance.request_state import Grant as Allowance
from governance.requests import AccessRequest, Action, Requester, Run, Uses

START = 1_795_933_680
ORIGIN = "bank.example/log"
OWNERS = ("applicant", "bank", "credit_agency")
COSIGNERS = ("bank", "credit_agency", "witness")
MODEL = hashlib.sha256(b"a public model").hexdigest()
_ACTIONS: tuple[Action, ...] = ("decide", "explain", "statistic", "release")
_STEPS: tuple[Kind, ...] = ("request", "decision", "answer", "permit")
_LOG_PSEUDONYMS = hashlib.sha256(b"pseudonyms of this trial").digest()


@cache
def key_of(role: str) -> Ed25519PrivateKey:
    """Return a role's key, the same in every run; it protects nothing outside of the trial."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(role.encode()).digest())


def public_of(role: str) -> bytes:
    """Return a role's public key, 32 bytes."""
    return key_of(role).public_key().public_bytes_raw()


def trust() -> Trust:
    """Return the keys that a reader of the log trusts."""
    return Trust(
        log=LogKey(origin=ORIGIN, key=public_of("log").hex()),
        cosigners={name: public_of(f"cosigner {name}").hex() for name in COSIGNERS},
        owners={name: public_of(f"owner {name}").hex() for name in OWNERS},
        witnesses={"witness": public_of("witness").hex()},
    )


@dataclass(frozen=True)
class LoggedUse:
    """A use that was done: what its decision file has, apart from the log."""

    grants: tuple[Grant, ...]
    program: str | None
    statement: SignedStatement | None
    entry: Entry


@dataclass
class Log:
    """A log's database: its entries, the hashes of its tree, its checkpoints, and the uses."""

    entries: list[bytes] = field(default_factory=list)
    store: MemoryNodes = field(default_factory=MemoryNodes)
    notes: list[Note] = field(default_factory=list)
    uses: dict[int, LoggedUse] = field(default_factory=dict)
    cosigners: dict[str, CosignerState] = field(
        default_factory=lambda: {name: CosignerState(ORIGIN) for name in COSIGNERS}
    )

    def add(self, entry: Entry, use: LoggedUse | None = None) -> None:
        """Append an entry, and keep the use that it is of."""
        append(self.store, len(self.entries), [entry.leaf])
        if use is not None:
            self.uses[len(self.entries)] = use
        self.entries.append(entry.to_bytes())

    def head(self) -> Note:
        """Return a checkpoint of all entries, signed by the log alone."""
        size = len(self.entries)
        return sign_checkpoint(Checkpoint(ORIGIN, size, root(self.store, size)), key_of("log"))

    def cosign(self, note: Note, seconds: int) -> Note:
        """Return a checkpoint with the cosignatures of all cosigners, and remember it."""
        lines = []
        for name, state in self.cosigners.items():
            proof = consistency_proof(self.store, state.size, len(self.entries))
            line, self.cosigners[name] = state.cosign(
                note,
                public_of("log"),
                state.size,
                proof,
                name=name,
                key=key_of(f"cosigner {name}"),
                seconds=seconds,
            )
            lines.append(line)
        self.notes.append(note.with_lines(lines))
        return self.notes[-1]

    def decision_file(self, index: int) -> DecisionFile:
        """Return the decision file of the use with this entry, up to the last checkpoint."""
        use, size = self.uses[index], Checkpoint.parse(self.notes[-1].body).size
        proof = inclusion_proof(self.store, index, size)
        return DecisionFile(
            grants=use.grants,
            program=use.program,
            statement=use.statement,
            entry=use.entry.to_json(),
            inclusion=Inclusion(index=index, hashes=tuple(each.hex() for each in proof)),
            checkpoint=self.notes[-1].text(),
        )


def a_use(action: Action, seconds: int, draw: random.Random, run: Run | None = None) -> LoggedUse:
    """Return a use with its requests, receipts, permits and, if it has one, its statement.

    `run` is the program that was run, if that is not the one named as the action.
    """
    owners = OWNERS if action in ("decide", "explain") else OWNERS[:1]
    target, result = _digits(draw, 128), _digits(draw, 256)
    program, statement = None, None
    if action in ("decide", "explain"):
        program = MODEL
        statement = _statement(run or action, target, result, draw)
    elif action == "statistic":
        program = _digits(draw, 256)
    grants = tuple(
        _grant(owner, (action, run), target, program, statement, seconds, draw) for owner in owners
    )
    aliases: Mapping[str, str] = {
        owner: pseudonym(_LOG_PSEUDONYMS, "owner", f"{owner} {target}") for owner in owners
    }
    entry = make_entry(
        seconds,
        grants,
        program,
        statement,
        result,
        pseudonyms={"owner": aliases.values()},
        details=_digits(draw, 256),
    )
    return LoggedUse(grants, program, statement, entry)


def a_log(seed: int, rounds: int = 4) -> Log:
    """Return a log of `rounds` batches with uses and other entries, each batch cosigned."""
    draw, log, seconds = random.Random(seed), Log(), START  # noqa: S311 - what is drawn is no secret
    for _ in range(rounds):
        for action in draw.sample(_ACTIONS, 3):
            for kind in _STEPS:
                seconds += draw.randrange(60)
                request = {"request": [_digits(draw, 256)]}
                log.add(Entry.made(kind, seconds, outcome="allowed", digests=request))
            use = a_use(action, seconds, draw)
            log.add(use.entry, use)
        log.cosign(log.head(), seconds)
    return log


def _grant(
    owner: str,
    named: tuple[Action, Run | None],
    target: str,
    program: str | None,
    statement: SignedStatement | None,
    seconds: int,
    draw: random.Random,
) -> Grant:
    action, run = named
    request = AccessRequest(
        id=_digits(draw, 128),
        requester=Requester(name="Bank of X", key=public_of("requester").hex()),
        owner=owner,
        action=action,
        target=target,
        fields=("income", "employment"),
        purpose="dpv:CreditChecking",
        reason="To decide about a car loan.",
        readers=("Bank of X",),
        created=seconds - 600,
        not_after=seconds + 86_400,
        uses=Uses(count=1),
        retention_days=30,
    )
    allowed = Allowed(
        request=request,
        grant=Allowance.whole(request),
        policy_version="1",
        principal=f"the {owner}",
        controller="Bank of X",
        categories={"income": "income", "employment": "employment"},
        jurisdiction="loc:EU",
        events=[ReceiptEvent("approved", seconds - 60, owner)],
        run=run,
    )
    key = key_of(f"owner {owner}")
    receipt = Receipt.issue(allowed, key, _digits(draw, 128), seconds - 60)
    slot = f"{owner}/encrypted_inputs"
    use = Use(
        iss=owner,
        sub=request.digest,
        aud=ORIGIN,
        action=action,
        program=program,
        inputs={slot: statement.messages[slot]} if statement else None,
        fields=request.fields,
        run=run,
    )
    permit = issue(key, use, seconds - draw.randrange(1, 200), jti=_digits(draw, 128))
    return Grant(receipt=dict(receipt.document), permit=permit)


def _statement(action: str, target: str, result: str, draw: random.Random) -> SignedStatement:
    messages = {f"{owner}/encrypted_inputs": _digits(draw, 256) for owner in OWNERS}
    made = Statement(target, action, MODEL, messages, result)
    return SignedStatement.of(made, {public_of("witness"): made.sign(key_of("witness"))})


def _digits(draw: random.Random, bits: int) -> str:
    return draw.randbytes(bits // 8).hex()
