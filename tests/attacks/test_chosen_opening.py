"""A server that chooses the size and the noise of an opening to take a party's secret.

The server states 2,040 outputs, no smudge, and opens the constant polynomial 1: a party's part is
then its secret itself. The server and the two other parties, who know the keys of the zero shares,
read all of it. The control plays the attack to its end with the bounds switched off.
"""

import numpy as np
import pytest

from engines.envelope import seal
from engines.levelled import bounds, opening
from engines.levelled.keys import SecretShare
from engines.levelled.messages import RESULT, ClientFacts, header
from engines.levelled.opening import Result
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS
from engines.levelled.party import LevelledParty
from engines.levelled.randomness import Expander, derive
from engines.levelled.words import words_from_bytes
from parties.joint.messages import Partial, decode, partial_step
from tests.privacy.small import EngineHalves
from tests.privacy.table import Table
from utils.errors import MalformedMessage, UnsafeParameters

VICTIM, COLLUDERS = "applicant", ("bank", "credit_agency")
STEP = partial_step("decide")
NO_SMUDGE = 1e-300


def chosen(halves):
    """Return the public model and client files by which the server asks for everything."""
    public, files = halves.server.public, halves.server.client_files()
    outputs = tuple(str(i) for i in range(DEFAULT.n - KNOWN_ZEROS))
    decide = public.programs["decide"].model_copy(update={"outputs": outputs})
    public = public.model_copy(update={"programs": public.programs | {"decide": decide}})
    facts = ClientFacts.from_archive(files)
    budget = facts.budgets["decide"].model_copy(update={"sigma_smudge": NO_SMUDGE})
    budgets = facts.budgets | {"decide": budget}
    return public, facts.model_copy(update={"budgets": budgets}).to_archive()


def without_bounds(monkeypatch, *names):
    for name in names:
        monkeypatch.setattr(bounds, name, lambda *_: None)


def chosen_result(halves, coefficients=DEFAULT.n):
    """Return a result whose mask is the constant polynomial 1."""
    mask = np.zeros(DEFAULT.n, np.uint64)
    mask[0] = 1
    result = Result(mask, np.zeros(coefficients, np.uint64))
    version = halves.server.public.model_version
    return seal(header(version, RESULT, program="decide"), result.to_bytes())


def stolen(table, result, digest):
    """Return the victim's part of the opening without its zero shares, as the colluders read it."""
    reader = table[COLLUDERS[0]].conversation
    body = next(p.body for p in table.messages_of(VICTIM, STEP) if p.receiver == COLLUDERS[0])
    part = decode(Partial, reader.unseal(VICTIM, STEP, COLLUDERS[0], body)).share
    words = words_from_bytes(part, len(part) // 8)
    for name in COLLUDERS:
        key = table[name].conversation.channel.pairwise[VICTIM]
        zero = Expander(derive(key, "zero", digest)).uniform_words(len(words))
        words = words - zero if name > VICTIM else words + zero
    return words.view(np.int64)


def test_parameters_of_the_attack_are_refused(halves):
    with pytest.raises(UnsafeParameters, match="2040 scores of decide instead of 1"):
        LevelledParty(*chosen(halves))


def test_control_without_bounds_one_opening_gives_the_whole_secret(halves, bits, monkeypatch):
    without_bounds(monkeypatch, "check_bounds", "check_outputs")
    monkeypatch.setattr(opening, "check_coefficients", lambda _: None)
    table = attacked(halves, bits)
    result = chosen_result(halves)
    confirmed(table, result)[VICTIM].open("decide", result)
    table.collect()
    digest = bytes.fromhex(table[VICTIM].opened("decide"))
    found = stolen(table, result, digest)
    true = SecretShare.from_bytes(table[VICTIM].secret, DEFAULT).polynomial
    assert np.count_nonzero(found == true) == len(true) == 2048


@pytest.mark.parametrize("kept", ["check_outputs", "check_coefficients"])
def test_each_check_of_an_opening_alone_stops_the_attack(halves, bits, monkeypatch, kept):
    without_bounds(monkeypatch, "check_bounds")
    if kept == "check_outputs":
        monkeypatch.setattr(opening, "check_coefficients", lambda _: None)
    else:
        without_bounds(monkeypatch, "check_outputs")
    table = attacked(halves, bits)
    result = chosen_result(halves)
    with pytest.raises(UnsafeParameters):
        confirmed(table, result)[VICTIM].open("decide", result)
    table.collect()
    assert table.messages_of(VICTIM, STEP) == []
    assert table[VICTIM].opened("decide") is None


def test_result_with_more_coefficients_than_stated_is_refused(halves, bits):
    table = Table(halves).keys()
    table.agree("decide", table.sent(bits))
    for coefficients in (DEFAULT.n, 2 + KNOWN_ZEROS):
        with pytest.raises(MalformedMessage, match="bytes"):
            table[VICTIM].open("decide", chosen_result(halves, coefficients))
    table.collect()
    assert table.messages_of(VICTIM, STEP) == []


def confirmed(table, result):
    """Have all parties confirm the server's result."""
    for name in (*COLLUDERS, VICTIM):
        table[name].open("decide", result)
    table.run()
    return table


def attacked(halves, bits):
    """Return an application, agreed to, whose parties hold the chosen parameters."""
    public, files = chosen(halves)
    party = LevelledParty(public, files)
    table = Table(EngineHalves(halves.deployment, halves.server, party)).keys()
    table.agree("decide", table.sent(bits))
    return table
