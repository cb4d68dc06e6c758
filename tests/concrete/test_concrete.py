"""Concrete with real encryption: every opened result equals the integer reference, bit for bit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engines.envelope import digest_of
from engines.interface import DECIDE, ENCRYPTED_INPUTS, EVALUATION_KEY, EXPLAIN
from features.encoding import Layout
from features.schema import Schema
from model.booster import Ensemble, Leaf, Tree
from model.polynomial import sample_states
from model.reference import reference_scores
from tests.concrete.deployments import Runs, programs_of

ROOT = Path(__file__).resolve().parents[2]
TWO_PARTIES = {
    "name": "two",
    "title": "Two parties",
    "parties": [
        {
            "name": "shop",
            "label": "Shop",
            "columns": [
                {"name": "Regular", "kind": "boolean", "label": "Regular", "optional": True},
                {
                    "name": "Visits",
                    "kind": "ordinal",
                    "label": "Visits",
                    "minimum": 0,
                    "maximum": 50,
                    "cuts": [3, 9],
                    "optional": True,
                },
            ],
        },
        {
            "name": "bank",
            "label": "Bank",
            "columns": [
                {
                    "name": "Kind",
                    "kind": "categorical",
                    "label": "Kind",
                    "values": ["a", "b", "c"],
                    "default": "a",
                }
            ],
        },
    ],
    "decision": {"target": "Bad"},
    "explanation": {"column": "Visits", "phrase": "visits"},
}


@pytest.fixture(scope="module")
def rows(layout, small_programs, credit_data):
    """Return the two extreme rows, held-out rows with both decisions, and random ones."""
    program = small_programs[DECIDE]
    held_out = credit_data[1][0]
    scores = program.scores(held_out)[:, 0]
    near = held_out[[np.flatnonzero(scores == wanted)[0] for wanted in (-1, 0)]]
    extreme = layout.bits_of_states(program.extreme_rows)
    random = layout.bits_of_states(sample_states(layout, 2, seed=31))
    return np.concatenate([extreme, near, held_out[:1], random])


def assert_equals_reference(runs, rows, programs=(DECIDE, EXPLAIN)):
    for row in rows:
        sent = runs.messages(row)  # the same ciphertexts for both programs
        for name in programs:
            assert runs.opened(name, sent) == reference_scores(runs.programs[name], row)


def test_decide_and_explain_equal_the_reference_on_the_same_ciphertexts(runs, rows):
    assert len(rows) >= 6
    assert runs.facts["lookups"][DECIDE] > 0
    scores = runs.programs[DECIDE].scores(rows)[:, 0].tolist()
    assert {runs.programs[DECIDE].low, runs.programs[DECIDE].high, -1, 0} <= set(scores)
    assert_equals_reference(runs, rows)


def test_messages_fit_their_slots_and_pass_their_checks(runs, rows):
    sent = runs.messages(rows[0])
    assert set(sent) == {(slot.party, slot.file_name) for slot in runs.server.public.slots}
    for (party, file_name), message in sent.items():
        slot = runs.slot(party, file_name)
        assert len(message) <= slot.maximum_bytes
        runs.server.check(slot, message)


def test_the_chosen_parameters_are_recorded(runs):
    parameters = runs.facts["parameters"]
    assert parameters["p_error"] == 2.0**-64
    assert [key["level"] for key in parameters["bootstrap"]] == [1]
    assert runs.facts["lookups"] == {n: len(p.plan.lookups) for n, p in runs.programs.items()}
    assert not runs.server.facts.joint_keys
    assert "Applicant makes the one secret key" in runs.server.facts.secret_key


def test_encryptions_of_equal_bits_are_independent(runs, rows):
    one, other = (runs.messages(rows[0])["bank", ENCRYPTED_INPUTS] for _ in range(2))
    assert one != other
    assert len(one) == len(other)


FRESH_PROCESS = """
import sys
from pathlib import Path

import numpy as np

from engines.interface import PublicModel
from engines.registry import load_party_engine

folder = Path(sys.argv[1])
public = PublicModel.model_validate_json((folder / "public.json").read_bytes())
party = load_party_engine(public, (folder / "client.zip").read_bytes())
secret = (folder / "secret").read_bytes()
print(party.open("decide", (folder / "result").read_bytes(), secret))
bits = np.frombuffer((folder / "bits").read_bytes(), np.uint8)
(folder / "inputs").write_bytes(party.encrypt("bank", bits, secret))
"""


def test_stored_secret_works_in_another_process(runs, rows, tmp_path):
    row, other = rows[0], rows[1]
    sent = runs.messages(row)
    (tmp_path / "public.json").write_text(runs.server.public.model_dump_json())
    (tmp_path / "client.zip").write_bytes(runs.server.client_files())
    (tmp_path / "secret").write_bytes(runs.keys.secret)
    (tmp_path / "result").write_bytes(runs.server.evaluate(DECIDE, sent))
    (tmp_path / "bits").write_bytes(other[runs.layout.party_bits("bank")].tobytes())
    done = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == str(reference_scores(runs.programs[DECIDE], row))
    mixed = row.copy()
    mixed[runs.layout.party_bits("bank")] = other[runs.layout.party_bits("bank")]
    sent["bank", ENCRYPTED_INPUTS] = (tmp_path / "inputs").read_bytes()
    assert runs.opened(DECIDE, sent) == reference_scores(runs.programs[DECIDE], mixed)


def test_loaded_key_is_kept_for_the_evaluation(runs, rows, monkeypatch):
    runs.server.forget([digest_of(runs.keys.evaluation)])
    runs.server.load_key({(runs.holder, EVALUATION_KEY): runs.keys.evaluation})
    sent = runs.messages(rows[0])
    monkeypatch.setattr(runs.server._keys, "read", None)  # so that reading it again would fail
    told = []
    result = runs.server.evaluate(DECIDE, sent, told.append)
    opened = runs.party.open(DECIDE, result, runs.keys.secret)
    assert opened == reference_scores(runs.programs[DECIDE], rows[0])
    assert told[-1] == 1.0


def two_party_ensemble(layout):
    """Return an ensemble with interactions of both parties' columns, including missing values."""
    regular, visits, kind = (layout.code(name).first_bit for name in ("Regular", "Visits", "Kind"))
    missing = layout.code("Visits").first_bit + 2

    def tree(a, b, leaves):
        paths = [((a, i), (b, j)) for i in (False, True) for j in (False, True)]
        return Tree(tuple(Leaf(p, v, 1.0) for p, v in zip(paths, leaves, strict=True)))

    return Ensemble(
        (
            tree(visits, kind, (-0.7, 0.2, 0.4, 1.1)),
            tree(visits + 1, kind + 1, (-0.2, 0.3, 0.5, -0.6)),
            tree(missing, kind + 2, (0.1, -0.3, -0.9, 0.8)),
            tree(regular, regular + 1, (-0.3, 0.2, 0.5, 0.0)),
        ),
        0.1,
    )


def test_two_parties_with_missing_values_are_exact(compiled):
    """On inputs with every pair of values of two columns."""
    layout = Layout(Schema.parse(TWO_PARTIES))
    programs = programs_of(two_party_ensemble(layout), layout)
    assert programs[DECIDE].plan.lookups
    assert not programs[EXPLAIN].plan.lookups  # all products are with the explained column
    runs = Runs.built(compiled, "two_parties", layout, programs)
    states = np.stack(np.meshgrid(*([*range(c.n_states)] for c in layout.codes)), -1)
    states = states.reshape(-1, len(layout.codes))
    assert len(states) == 36
    states = states[states.sum(axis=1) % 3 == 0] + [c.first_state for c in layout.codes]
    rows = layout.bits_of_states(states)
    assert_equals_reference(runs, rows, [DECIDE])
    assert_equals_reference(runs, rows[::4], [EXPLAIN])


def linear_ensemble(layout):
    bits = [0, 5, layout.code("Age").first_bit, layout.code("Years_employed").first_bit]
    trees = [
        Tree((Leaf(((bit, False),), -0.5 - i, 1.0), Leaf(((bit, True),), 0.4 + i, 1.0)))
        for i, bit in enumerate(bits)
    ]
    return Ensemble(tuple(trees), 0.0)


def test_programs_without_lookups_are_exact(compiled, layout, rows):
    """A linear decision, and the explanation of a constant one."""
    linear, constant = (
        programs_of(ensemble, layout, score_bits=8)
        for ensemble in (linear_ensemble(layout), Ensemble((), -1.0))
    )
    programs = {DECIDE: linear[DECIDE], EXPLAIN: constant[EXPLAIN]}
    runs = Runs.built(compiled, "no_lookups", layout, programs)
    assert runs.facts["lookups"] == {DECIDE: 0, EXPLAIN: 0}
    # Without one Concrete would choose parameters that are too small for the weights.
    assert len(runs.facts["parameters"]["bootstrap"]) == 1
    extreme = layout.bits_of_states(programs[DECIDE].extreme_rows)
    assert_equals_reference(runs, np.concatenate([extreme, rows[2:3]]))
