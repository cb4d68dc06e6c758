"""A Hypothesis state machine of applications, run against a live server over HTTP.

Every response must have the status, the error code and the content that the contract's model
says (tests/service/lifecycle.py).
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any, ClassVar

import httpx
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLAIN,
    EXPLANATION_INPUTS,
    PROGRAMS,
    REASONS,
)
from governance.permits import issue
from governance.program_permits import uses_of
from service.applications.party_tokens import MOST_TOKENS
from tests.service.driver import Server, bearer, code_of
from tests.service.lifecycle import (
    ACTIVE,
    FIRST,
    GONE,
    MODEL,
    NEEDED,
    OK,
    PARTIES,
    SCOPES,
    STRANGER,
    UNNAMED,
    Model,
    Outcome,
    Token,
)
from trials.permits import PermitKeys
from trials.stand_in import message, result_of

BOUNDED = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
WHICH = st.integers(0, 999)
PAYLOADS = st.sampled_from([b"bits", b"other bits", b"bits", b"refuse", b"sleep 60"])
AGREE = "agree:decide"


class Lifecycle(RuleBasedStateMachine):
    server: ClassVar[Server]

    @initialize(
        scopes=st.none() | st.sets(st.sampled_from(SCOPES)).map(lambda found: found | {"send"}),
        restricted=st.sampled_from(PARTIES),
        begin=st.sampled_from(["ready", "open", "decided", "running", "decided"]),
        payload=PAYLOADS,
    )
    def open(self, scopes: set[str] | None, restricted: str, begin: str, payload: bytes) -> None:
        """Open an application, join all parties and, in most cases, take further steps."""
        self.model = Model()
        opened = self.server.http.post("/applications").json()
        self.client_id, self.codes = opened["client_id"], opened["join_codes"]
        self.keys = PermitKeys()
        self.given: list[tuple[str, str]] = []
        joined = []
        for party in PARTIES:
            limited = scopes is not None and party == restricted
            joined.append(self._joined(party, sorted(scopes) if limited and scopes else None))
        able = next(token for token in joined if "run" in token.scopes)
        if begin != "open":
            orders = {"decided": b"bits", "running": b"sleep 60"}
            self._fill(joined, DECIDE, orders.get(begin, payload))
        if begin in ("decided", "running"):
            sender = next(token for token in joined if "send" in token.scopes)
            self._permit(sender, DECIDE, PARTIES)
            assert self.model.begin(DECIDE) is None
        if begin == "decided":
            self._is(self._form("/run_fhe", able, DECIDE), (200, OK))
            self.model.status[DECIDE] = "done"
            self._fill(joined, EXPLAIN, b"bits")
        if begin == "running":
            self._is(self._post(f"runs/{DECIDE}", able), (202, OK))
            self.model.status[DECIDE] = "queued"
        other = self.server.open()
        other.join(FIRST)
        forged = [Token("forged", live=False), Token(other.tokens[FIRST], FIRST, live=False)]
        self.tokens = [*joined, Token(opened["watch_token"]), *forged]

    def teardown(self) -> None:
        if hasattr(self, "model") and not self.model.erased:
            operator = (self.server.data / "operator_token").read_text().strip()
            path = f"/operator{self._path()}"
            assert self.server.http.delete(path, headers=bearer(operator)).status_code == 204

    @rule(
        which=WHICH,
        what=st.sampled_from(["renew", "revoke", "join_again", "elsewhere"]),
        party=st.sampled_from([*PARTIES, "nobody"]),
    )
    def at_the_door(self, which: int, what: str, party: str) -> None:
        getattr(self, f"_{what}")(which, self._token(which), party)

    def _join_again(self, which: int, _: Token, party: str) -> None:
        code = self.codes.get(party, "") if which % 2 else "x"
        scopes = ["fly"] if which % 5 == 0 else ["send"]
        answer = self._post("join", json={"party": party, "code": code, "scopes": scopes})
        if self.model.erased:
            self._is(answer, GONE)
        elif party == "nobody":
            self._is(answer, (422, "unknown-party"))
        else:
            self._is(answer, (422, "invalid-request") if scopes == ["fly"] else STRANGER)

    def _renew(self, _: int, token: Token, __: str) -> None:
        answer = self._post("token", token)
        if self.model.erased or not token.live or token.party is None:
            self._is(answer, GONE if self.model.erased else STRANGER)
            return
        if sum(one.live and one.party == token.party for one in self.tokens) >= MOST_TOKENS:
            self._is(answer, (429, "too-many-requests"))
            return
        self._is(answer, (200, OK))
        new = Token(answer.json()["token"], token.party, token.scopes)
        assert new.text != token.text
        assert set(answer.json()["scopes"]) == set(token.scopes)
        self.tokens.append(new)

    def _revoke(self, which: int, token: Token, _: str) -> None:
        if token.live and which % 4:
            return  # or too little can happen afterwards
        answer = self._call("DELETE", "token", token)
        if self.model.erased or not token.live:
            self._is(answer, GONE if self.model.erased else STRANGER)
        else:
            self._is(answer, (204, OK))
            token.live = False

    def _elsewhere(self, which: int, token: Token, _: str) -> None:
        client_id = ("0" * 32, "0" * 31, "../x", "A" * 32)[which % 4]
        answer = self._form("/run_fhe", token, DECIDE, client_id=client_id)
        self._is(answer, (422, "invalid-request") if which % 4 else GONE)

    @rule(
        which=WHICH,
        own=st.booleans() | st.just(True),
        party=st.sampled_from([*PARTIES, "nobody"]),
        name=st.sampled_from([ENCRYPTED_INPUTS, EVALUATION_KEY, EXPLANATION_INPUTS, "secret_key"]),
        payload=PAYLOADS,
        content=st.sampled_from(["", "", "", "cut", "foreign", "empty"]),
    )
    def send(
        self, which: int, own: bool, party: str, name: str, payload: bytes, content: str
    ) -> None:
        token = self._token(which)
        if own and token.party is not None:
            party = token.party
            slots = sorted(slot for slot in NEEDED[EXPLAIN] if slot[0] == party)
            name = slots[which % len(slots)][1]
        model = "another" if content == "foreign" else MODEL.model_version
        sealed = message(party, name, payload, model)
        sealed = {"cut": sealed[:-1], "empty": b""}.get(content, sealed)
        answer = self._send(token, party, name, sealed)
        slot = (party, name)
        expected = self._refused(token, "send") or self._wrong_slot(token, slot)
        if expected is not None:
            self._is(answer, expected)
        elif closed := self.model.closed(slot):
            assert (answer.status_code, code_of(answer)) in closed
        elif content:
            codes = {"cut": "malformed-message", "foreign": "foreign-message"}
            self._is(answer, (422, codes.get(content, "upload-empty")))
        else:
            self._is(answer, (200, OK))
            self._keep(slot, sealed, payload)
            assert answer.json()["bytes"] == len(sealed)
            assert answer.json()["state"] == self.model.stage()

    @precondition(lambda self: not self.model.erased and self.model.stage() in ("open", "decided"))
    @rule(which=WHICH, payload=PAYLOADS)
    def send_what_is_missing(self, which: int, payload: bytes) -> None:
        """Fill all slots at once, since programs run only when none is missing."""
        token = self._token(which)
        program = DECIDE if self.model.stage() == "open" else EXPLAIN
        for party, _ in sorted(self.model.missing(program)):
            if token.party == party and self._refused(token, "send") is None:
                self._fill([token], program, payload)

    @rule(
        which=WHICH,
        program=st.sampled_from([DECIDE, DECIDE, EXPLAIN, REASONS]),
        parties=st.just(list(PARTIES))
        | st.lists(st.sampled_from(PARTIES), min_size=1, unique=True),
        what=st.sampled_from(["new", "new", "new", "late", "forged"]),
    )
    def permit(self, which: int, program: str, parties: list[str], what: str) -> None:
        """Give permits of some or all parties with any token."""
        self._permit(self._token(which), program, parties, what)

    @precondition(lambda self: self.given)
    @rule(which=WHICH, number=WHICH)
    def permit_again(self, which: int, number: int) -> None:
        """Give an old permit again: used, replaced, or for other messages."""
        token, (program, text) = self._token(which), self.given[number % len(self.given)]
        answer = self._post("permits", token, json={"permits": [text]})
        refused = self._refused(token, "send")
        if refused is not None:
            self._is(answer, refused)
        elif not answer.is_success:
            assert code_of(answer) in ("permit-spent", "permit-invalid", "out-of-step")
        else:  # it was replaced by another one, and is for the present messages
            claims = text.split(".")[1]
            party = json.loads(base64.urlsafe_b64decode(claims + "=="))["iss"]
            assert self.model.permit(program, [party]) is None

    @precondition(lambda self: not any(self.model.active(p) for p in self.model.status))
    @rule(which=WHICH, program=st.sampled_from([DECIDE, DECIDE, EXPLAIN, REASONS, "predict"]))
    def run(self, which: int, program: str) -> None:
        token = self._token(which)
        if self.model.order == b"sleep 60" and self.model.status.get(program) != "done":
            return  # the call would wait for it
        answer = self._form("/run_fhe", token, program)
        expected = self._refused(token, "run", program)
        if expected is None and self.model.status[program] != "done":
            expected = self.model.begin(program)
            if expected is None and self.model.order == b"refuse":
                self.model.status[program] = "failed"
                expected = (500, "evaluation-failed")
        self._is(answer, expected or (200, OK))
        if expected is None:
            self.model.status[program] = "done"
            assert answer.json() >= 0

    @rule(which=WHICH, program=st.sampled_from([DECIDE, DECIDE, EXPLAIN, REASONS, "predict"]))
    def ask(self, which: int, program: str) -> None:
        token = self._token(which)
        ready = program in NEEDED and self.model.turn(program) is None
        ready = ready and not self.model.unpermitted(program)
        if ready and self.model.order != b"sleep 60" and self.model.status[program] != "done":
            return  # it would end by itself at an unknown time
        answer = self._post(f"runs/{program}", token)
        expected = self._refused(token, "run", program)
        if expected is None and self.model.status[program] not in (*ACTIVE, "done"):
            expected = self.model.begin(program)
            if expected is None:
                self.model.status[program] = "queued"
        self._is(answer, expected or (202, OK))
        if expected is None:
            self._has_status(answer.json(), program)

    @rule(which=WHICH, program=st.sampled_from([DECIDE, DECIDE, EXPLAIN, REASONS, "predict"]))
    def cancel(self, which: int, program: str) -> None:
        token = self._token(which)
        answer = self._call("DELETE", f"runs/{program}", token)
        expected = self._refused(token, "run", program)
        self._is(answer, expected or (200, OK))
        if expected is None:
            if self.model.active(program):
                self.model.status[program] = "cancelled"
            self._has_status(answer.json(), program)

    @rule(
        which=WHICH,
        what=st.sampled_from(["look", "output", "output", "state", "hear", "traffic"]),
        program=st.sampled_from([DECIDE, DECIDE, EXPLAIN, REASONS, "predict"]),
    )
    def read(self, which: int, what: str, program: str) -> None:
        getattr(self, f"_{what}")(self._token(which), program)

    def _look(self, token: Token, program: str) -> None:
        answer = self._call("GET", f"runs/{program}", token)
        expected = self._refused(token, "read", program)
        self._is(answer, expected or (200, OK))
        if expected is None:
            self._has_status(answer.json(), program)

    def _output(self, token: Token, program: str) -> None:
        answer = self._form("/get_output", token, program)
        expected = self._refused(token, "read", program)
        if expected is None and self.model.status[program] != "done":
            expected = (409, "out-of-step")
        self._is(answer, expected or (200, OK))
        if expected is None:
            used = {slot: self.model.sent[slot] for slot in NEEDED[program]}
            assert answer.content == result_of(program, used)

    def _state(self, token: Token, _: str) -> None:
        answer = self._call("GET", "", token)
        expected = self.model.shows(token)
        self._is(answer, expected or (200, OK))
        if expected is None:
            found = answer.json()
            assert found["state"] == self.model.stage()
            assert set(found["joined"]) == self.model.joined
            sizes = {(s["party"], s["file_name"]): s["received_bytes"] for s in found["slots"]}
            sent = {slot: len(content) for slot, content in self.model.sent.items()}
            assert {slot: size for slot, size in sizes.items() if size is not None} == sent
            for program in PROGRAMS:
                self._has_status(found["programs"][program], program)
                missing = {f"{party}: {name}" for party, name in self.model.missing(program)}
                assert set(found["missing"][program]) == missing
                assert set(found["unpermitted"][program]) == self.model.unpermitted(program)

    @rule(
        which=WHICH,
        step=st.sampled_from(["hello", "agree:decide"]),
        receiver=st.sampled_from([None, *PARTIES, "nobody"]),
        body=st.sampled_from([b"one", b"other", b""]),
    )
    def say(self, which: int, step: str, receiver: str | None, body: bytes) -> None:
        token = self._token(which)
        content = {"step": step, "receiver": receiver, "body": base64.b64encode(body).decode()}
        answer = self._post("messages", token, json=content)
        expected = self.model.admits(token, "relay")
        if expected is None and receiver == "nobody":
            expected = (422, "unknown-party")
        elif expected is None and receiver == token.party:
            expected = (422, "invalid-request")
        elif expected is None and not body:
            expected = (422, "upload-empty")
        elif expected is None:
            earlier = self.model.said.setdefault((token.party or "", step, receiver), body)
            expected = None if earlier == body else (409, "already-sent")
        self._is(answer, expected or (200, OK))

    def _hear(self, token: Token, _: str) -> None:
        answer = self._call("GET", "messages", token)
        expected = self.model.admits(token, "relay")
        self._is(answer, expected or (200, OK))
        if expected is None:
            shown = {
                (m["sender"], m["step"], m["receiver"]): base64.b64decode(m["body"])
                for m in answer.json()["messages"]
            }
            mine = {
                key: body
                for key, body in self.model.said.items()
                if token.party in (key[0], key[2]) or key[2] is None
            }
            assert shown == mine

    def _traffic(self, token: Token, _: str) -> None:
        answer = self._call("GET", "traffic", token)
        expected = self.model.shows(token)
        self._is(answer, expected or (200, OK))
        if expected is None:
            said = [item for item in answer.json()["items"] if item["what"] in ("hello", AGREE)]
            assert len(said) == len(self.model.said)

    @rule(which=WHICH)
    def erase(self, which: int) -> None:
        token = self._token(which)
        expected = self.model.admits(token, "erase")
        if expected is None and which % 20:
            return  # or too little can happen afterwards
        self._is(self._call("DELETE", "", token), expected or (204, OK))
        self.model.erased = True if expected is None else self.model.erased

    def _token(self, which: int) -> Token:
        """Choose one of all tokens, most often one with some permission."""
        good = [token for token in self.tokens if token.live and token.party]
        pool = [*good, *good, *good, *self.tokens]
        return pool[which % len(pool)]

    def _joined(self, party: str, scopes: list[str] | None) -> Token:
        body: dict[str, Any] = {"party": party, "code": self.codes[party]}
        body["permit_key"] = self.keys.public(party)
        answer = self._post("join", json=body if scopes is None else body | {"scopes": scopes})
        self._is(answer, (200, OK))
        self.model.joined.add(party)
        return Token(answer.json()["token"], party, tuple(scopes or SCOPES))

    def _fill(self, joined: list[Token], program: str, payload: bytes) -> None:
        for token in joined:
            for party, name in sorted(self.model.missing(program)):
                if party == token.party:
                    sealed = message(party, name, payload)
                    self._is(self._send(token, party, name, sealed), (200, OK))
                    self._keep((party, name), sealed, payload)

    def _permit(self, token: Token, program: str, parties: list[str], what: str = "new") -> None:
        sha256 = {slot: hashlib.sha256(sent).hexdigest() for slot, sent in self.model.sent.items()}
        named = {slot: sha256.get(slot, "0" * 64) for slot in NEEDED[program]}
        now = time.time() - (301 if what == "late" else 0)
        uses = uses_of(MODEL, self.client_id, program, named)
        texts = [
            issue(self.keys.of("forger" if what == "forged" else party), uses[party], now)
            for party in parties
        ]
        answer = self._post("permits", token, json={"permits": texts})
        expected = self._refused(token, "send")
        if expected is None and what == "forged":
            expected = (403, "permit-invalid")
        elif expected is None and self.model.missing(program):
            expected = (409, "out-of-step")
        elif expected is None and what == "late":
            expected = (403, "permit-expired")
        elif expected is None:
            expected = self.model.permit(program, parties)
            self.given += [(program, text) for text in texts]
        self._is(answer, expected or (204, OK))

    def _refused(self, token: Token, scope: str, program: str | None = None) -> Outcome | None:
        found = self.model.admits(token, scope)
        return found or (UNNAMED if program not in (None, *PROGRAMS) else None)

    def _wrong_slot(self, token: Token, slot: tuple[str, str]) -> Outcome | None:
        if slot[0] not in PARTIES:
            return 422, "unknown-party"
        if slot[0] != token.party:
            return 403, "forbidden-slot"
        return None if slot in NEEDED[EXPLAIN] else UNNAMED

    def _keep(self, slot: tuple[str, str], sealed: bytes, payload: bytes) -> None:
        self.model.sent[slot] = sealed
        if slot == (FIRST, ENCRYPTED_INPUTS):
            self.model.order = payload

    def _has_status(self, found: dict[str, Any], program: str) -> None:
        wanted = self.model.status[program]
        assert found["status"] in (ACTIVE if wanted in ACTIVE else (wanted,))

    def _path(self) -> str:
        return f"/applications/{self.client_id}"

    def _call(self, method: str, what: str, token: Token | None, **more: Any) -> httpx.Response:
        path = f"{self._path()}/{what}".rstrip("/")
        headers = {} if token is None else bearer(token.text)
        return self.server.http.request(method, path, headers=headers, **more)

    def _post(self, what: str, token: Token | None = None, **more: Any) -> httpx.Response:
        return self._call("POST", what, token, **more)

    def _form(self, path: str, token: Token, program: str, **change: str) -> httpx.Response:
        data = {"client_id": self.client_id, "program": program, **change}
        return self.server.http.post(path, data=data, headers=bearer(token.text))

    def _send(self, token: Token, party: str, name: str, sealed: bytes) -> httpx.Response:
        fields = {"client_id": self.client_id, "client_type": party, "file_name": name}
        files = {"files": ("slice", sealed)}
        headers = bearer(token.text)
        return self.server.http.post("/send_file", data=fields, files=files, headers=headers)

    def _is(self, answer: httpx.Response, expected: Outcome) -> None:
        code = OK if answer.is_success else code_of(answer)
        assert (answer.status_code, code) == expected, answer.text


def test_application_matches_the_contract_model(server: Server) -> None:
    machine = type("Played", (Lifecycle,), {"server": server})
    run_state_machine_as_test(machine, settings=BOUNDED)
