"""What readers learn: the exact figures equal counting every record, and those in PROTOCOL.md."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN
from engines.levelled.server import LevelledServer
from features.encoding import Layout
from model.plan import Plan
from model.polynomial import sample_states, substitute
from model.program import Program, explained_variants
from service.applications.rules import explanation_readers_of
from settings import ROOT
from tests.privacy.small import small_schema
from tests.strategies import SLOW, all_states, polynomials, schemas
from training.measure import outcomes as outcomes_module
from training.measure import readers
from training.measure.learned import Scores, Signs, entropies, learned
from training.measure.outcomes import Outcomes
from utils.errors import ModelTooLarge

DOCUMENT = (ROOT / "docs" / "PROTOCOL.md").read_text()


@pytest.fixture(scope="module")
def deployed():
    return Deployment.load(ROOT / "deployment_files")


@pytest.fixture(scope="module")
def outcomes(deployed):
    return Outcomes.of(deployed.programs_of("levelled"), deployed.layout)


def program(name, layout, polynomial, outputs):
    """Return a program to evaluate by its polynomial alone."""
    plan = Plan(np.zeros((outputs, layout.n_states), np.int64), ())
    rows = np.zeros((0, 0), np.int64)
    labels, own = tuple(map(str, range(outputs))), layout.schema.fingerprint()
    return Program(name, own, labels, 12, 1.0, 0.0, -2048, 2047, polynomial, plan, rows)


def programs_of(layout, polynomial):
    variants = explained_variants(layout)
    return layout, {
        DECIDE: program(DECIDE, layout, polynomial, 1),
        EXPLAIN: program(EXPLAIN, layout, substitute(polynomial, variants), len(variants)),
    }


@st.composite
def models(draw):
    """Draw a layout of two or three parties and both programs of a polynomial."""
    layout = Layout(draw(schemas(most_parties=3, most_columns=2, bins=3)))
    return programs_of(layout, draw(polynomials(layout, terms=8, largest=2)))


def model_with_equal_sums():
    """Return a model in which a column that only adds is hidden by other parties' records."""
    layout = Layout(small_schema())
    draw = np.random.default_rng(1)
    polynomial = {(bit,): draw.integers(-2, 3, 1) for bit in range(layout.n_bits)}
    years, flags = ([c.first_bit for c in layout.codes[k::2]] for k in (0, 1))
    polynomial |= {(years[0], flags[1]): np.array([3]), (years[1], years[2]): np.array([-2])}
    return programs_of(layout, polynomial | {(flags[0],): np.array([2])})


def counted(rows):
    """Return the entropy of equally likely rows, in bits."""
    counts = Counter(map(tuple, rows.tolist())).values()
    return -sum(c / len(rows) * math.log2(c / len(rows)) for c in counts)


def learned_by_counting(records, opened, owner, known):
    """Return I(owner; opened | known) from the joint entropies of all records, listed in full."""

    def joint(parties, *more):
        return counted(np.column_stack([*(records[p] for p in sorted(parties)), *more]))

    both = {*known, owner}
    return joint(known, opened) + joint(both) - joint(known) - joint(both, opened)


@SLOW
@given(models())
@example(model_with_equal_sums())
def test_figures_equal_counting_every_record(model):
    layout, programs = model
    states = all_states(layout)
    bits, names = layout.bits_of_states(states), layout.schema.party_names
    records = [states[:, [c.party == name for c in layout.codes]] for name in names]
    scores = np.column_stack([programs[DECIDE].scores(bits), programs[EXPLAIN].scores(bits)])
    own, count = Outcomes.of(programs, layout), scores.shape[1]
    parties = range(len(names))
    for kind, some in (
        (Scores(own, 1), scores[:, :1]),
        (Scores(own, count), scores),
        (Signs.of(own, 1), scores[:, :1] >= 0),
        (Signs.of(own, count), scores >= 0),
    ):
        found = entropies(kind, len(names))
        for owner in parties:
            others = set(parties) - {owner}
            for known in (others, *({reader} for reader in others)):
                expected = learned_by_counting(records, some, owner, known)
                assert learned(found, owner, known) == pytest.approx(expected, abs=1e-9)
    for kind, same in ((Scores(own, count), scores), (Signs.of(own, count), scores >= 0)):
        matches = (same[:, 1:] == same[:, :1]).sum(axis=1)
        expected = np.bincount(matches, minlength=count) / len(states)
        assert kind.candidates() == pytest.approx(expected)


def test_scores_are_distributed_as_those_of_random_records(outcomes, deployed):
    """The deployed model has too many records to list, so its distribution is sampled here."""
    drawn, layout = 40_000, deployed.layout
    bits = layout.bits_of_states(sample_states(layout, drawn, seed=3))
    scores = deployed.programs_of("levelled")[DECIDE].scores(bits)[:, 0]
    first = outcomes.scores[..., 0].reshape(-1)
    sums, shares = outcomes.sums()
    weights = outcomes_module.product(outcomes.weights)
    for level in (-300, -100, 0, 100, 300):
        reached = np.array([shares[sums >= level - score].sum() for score in np.unique(first)])
        share = float(np.bincount(np.unique(first, return_inverse=True)[1], weights) @ reached)
        assert abs((scores >= level).mean() - share) < 6 * math.sqrt(share * (1 - share) / drawn)


def test_a_model_with_too_many_records_is_refused(deployed, monkeypatch):
    monkeypatch.setattr(outcomes_module, "MOST_RECORDS", 1000)
    with pytest.raises(ModelTooLarge, match="at most 1000"):
        Outcomes.of(deployed.programs_of("levelled"), deployed.layout)


def test_documented_tables_are_those_of_the_deployed_model(tmp_path, capsys):
    copy = tmp_path / "page.md"
    copy.write_text(DOCUMENT.replace("| 0.52 |", "| 0.53 |"))
    folder = ["--deployment", str(ROOT / "deployment_files")]
    assert readers.main([*folder, "--document", str(copy)]) == 0
    command = "python -m training.measure.readers --document docs/PROTOCOL.md"
    assert copy.read_text() == DOCUMENT, f"run `{command}`"
    assert f"`{command}`" in DOCUMENT
    assert "opened by default" in capsys.readouterr().out


def test_the_command_states_why_it_fails(tmp_path, capsys):
    assert readers.main(["--deployment", str(tmp_path)]) == 1
    assert "There is no deployment" in capsys.readouterr().err


def test_signs_tell_less_than_scores_and_a_decision_at_most_a_bit():
    section = DOCUMENT[DOCUMENT.index(readers.BEGIN) : DOCUMENT.index(readers.END)]
    rows = [row.strip("| ").split(" | ") for row in section.split("\n\n")[1].splitlines()[2:]]
    assert len(rows) == 12
    for row in rows:
        bits, score, sign, scores, signs, by_default = map(float, (row[2], *row[4:]))
        assert sign <= 1 and sign < score <= scores <= bits
        assert sign <= signs < scores / 2
        assert by_default == (sign if row[0] == "bank" else signs)


def test_default_readers_are_those_of_the_server(deployed):
    public, names = LevelledServer(deployed).public, deployed.schema.party_names
    expected = explanation_readers_of(public, None, names)
    assert readers.explanation_readers(deployed.schema) == set(expected) == {names[0], names[2]}
