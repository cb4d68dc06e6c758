"""The owner's part in encrypted decisions: nothing of a record in errors, nothing after the end."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engines.interface import PROGRAMS
from features.encoding import Layout
from features.schema import Schema
from parties.governance.decisions import OwnDecisions
from parties.joint.identities import IdentityKey
from utils.errors import DataSetInvalid, RecordContradictory, ValueOutOfDomain

SCHEMA = Schema.load(Path(__file__).parents[3] / "features" / "credit_card.json")
PARTY = SCHEMA.parties[0]


class Application:
    """An application whose parties are all ready; it ends when something has been told."""

    def __init__(self) -> None:
        self.over, self.serial = "", 1
        self.agreements: list[str] = []
        self.waited, self.changed = threading.Semaphore(0), threading.Event()
        self.member = SimpleNamespace(
            client_id="a" * 32,
            party=PARTY.name,
            keys_ready=True,
            has_sent=True,
            is_sent=lambda _record: True,
            agreed_by=lambda program: (PARTY.name,) if program in self.agreements else (),
            public=SimpleNamespace(programs=dict.fromkeys(PROGRAMS)),
            reads=lambda _program: False,
        )

    def agree(self, program: str) -> None:
        self.agreements.append(program)

    def look(self) -> None: ...

    def wait(self, serial: int, _seconds: float) -> int:
        self.waited.release()
        self.changed.wait(0.02)
        return serial


class Decisions(OwnDecisions):
    """Takes part in one application, without a server."""

    def __init__(self, folder: Path, application: Application) -> None:
        super().__init__(SimpleNamespace(), folder, IdentityKey.fresh(), lambda *_words: None)  # type: ignore[arg-type]
        self.application = application
        self.layout = Layout(SCHEMA)

    def _connected(self) -> Any:
        return SimpleNamespace(layout=self.layout)

    def _joined(self, *_: Any) -> Any:
        return self.application


@pytest.fixture
def record() -> dict[str, Any]:
    layout = Layout(SCHEMA)
    return {code.column.name: code.value(0) for code in layout.party_codes(PARTY.name)}


def test_an_error_about_a_record_tells_the_institution_no_value(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    decisions = Decisions(tmp_path, Application())
    assert decisions.prepare("code", record) == "a" * 32, "the control"
    name = PARTY.columns[0].name
    wrong = {**record, name: 987_654_321}
    with pytest.raises(ValueOutOfDomain, match="987654321"):  # what the model itself says
        Layout(SCHEMA).encode_party(PARTY.name, wrong)
    with pytest.raises(DataSetInvalid, match=name) as caught:
        decisions.prepare("code", wrong)
    assert "987654321" not in caught.value.message
    assert caught.value.__cause__ is None


def test_a_contradicting_record_is_refused_without_the_rule(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    """The rule would tell the institution what the columns hold."""
    rule = {
        "name": "no_household_without_people",
        "never": [{"column": "Num_children", "at_least": {"column": "Household_size"}}],
        "text": "The household has more people than children.",
    }
    document = SCHEMA.model_dump(mode="json") | {"rules": [rule]}
    decisions = Decisions(tmp_path, Application())
    decisions.layout = Layout(Schema.parse(document))
    assert decisions.prepare("code", record | {"Num_children": 4, "Household_size": 5}) == "a" * 32
    wrong = record | {"Num_children": 5, "Household_size": 5}
    with pytest.raises(RecordContradictory, match="more people than children"):
        decisions.layout.encode_party(PARTY.name, wrong)
    with pytest.raises(DataSetInvalid, match="contradicts itself") as caught:
        decisions.prepare("code", wrong)
    for secret in ("household", "Household", "children", "Num_children"):
        assert secret not in caught.value.message


@pytest.mark.parametrize(
    ("action", "programs"), [("decide", ["decide"]), ("explain", ["explain", "reasons"])]
)
def test_nothing_is_agreed_to_while_the_approval_does_not_stand(
    tmp_path: Path, record: dict[str, Any], action: Any, programs: list[str]
) -> None:
    """Consent to an explanation covers the reasons."""
    application, standing = Application(), threading.Event()
    decisions = Decisions(tmp_path, application)
    decisions.perform("code", record, action, standing.is_set)
    for _ in range(3):
        assert application.waited.acquire(timeout=20)
    assert application.agreements == []
    standing.set()  # the control: with an approval it agrees, once
    for thread in threading.enumerate():
        if thread.name == "agree aaaaaaaa":
            thread.join(20)
    assert sorted(application.agreements) == programs
    decisions.close()
