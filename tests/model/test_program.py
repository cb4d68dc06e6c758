"""Program files: exact round trip, refusal of damage, and agreement of `explain` and `decide`."""

import dataclasses
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.encoding import Layout
from features.schema import Schema
from features.variations import explained_labels
from model import program as module
from model.polynomial import sample_states
from model.program import Program, explain_program
from model.reference import counterfactual_rows, reference_record, reference_scores
from tests.strategies import (
    QUICK,
    SLOW,
    all_bits,
    decide_programs,
    monomials,
    records,
    schemas,
    tiny_schemas,
)
from utils.errors import ProgramInvalid, ValueOutOfDomain


@pytest.fixture(params=["decide", "explain", "reasons"])
def program(request, small_programs):
    return small_programs[request.param]


@pytest.fixture
def reload(tmp_path, layout):
    """Return a function that writes a decoded document and loads it as a program."""

    def load(document):
        path = tmp_path / "program.json"
        text = document if isinstance(document, str) else json.dumps(document)
        path.write_text(text)
        return Program.load(path, layout)

    return load


def test_program_file_round_trips(reload, program):
    again = reload(program.to_json())
    assert again.to_json() == program.to_json()
    assert again.digest() == program.digest()
    for field in dataclasses.fields(Program):
        mine, its = getattr(program, field.name), getattr(again, field.name)
        if field.name == "polynomial":
            assert {m: c.tolist() for m, c in mine.items()} == {
                m: c.tolist() for m, c in its.items()
            }
        elif field.name == "plan":
            assert mine.lookups == its.lookups
            assert (mine.linear == its.linear).all()
        else:
            assert np.array_equal(mine, its)


def test_program_text_is_independent_of_monomial_order(program):
    backwards = dict(reversed(program.polynomial.items()))
    other = dataclasses.replace(program, polynomial=backwards)
    assert other.to_json() == program.to_json()
    assert "\n" not in program.to_json()[:-1]


@SLOW
@given(st.data())
def test_random_programs_round_trip(tmp_path_factory, data):
    layout = Layout(data.draw(schemas(most_parties=3)))
    decide = data.draw(decide_programs(layout))
    for program in (decide, explain_program(decide, layout)):
        path = tmp_path_factory.mktemp("program") / "p.json"
        path.write_text(program.to_json())
        assert Program.load(path, layout).to_json() == program.to_json()


CHANGES = {
    "another schema": (lambda d: d.update(schema="0" * 64), "belongs to another schema"),
    "another format": (lambda d: d.update(format=2), "format 2, this version reads 1"),
    "no format": (lambda d: d.pop("format"), "not a program file"),
    "no score bits": (lambda d: d.update(score_bits=0), "score_bits is 0"),
    "huge score bits": (lambda d: d.update(score_bits=10**9), "score_bits is"),
    "narrow score": (lambda d: d.update(score_bits=6), "do not fit into score_bits"),
    "bounds swapped": (lambda d: d.update(low=d["high"], high=d["low"]), "do not fit"),
    "bound too low": (lambda d: d.update(high=d["high"] - 10), "a score lies beyond the bounds"),
    "bound too high": (lambda d: d.update(low=d["low"] + 10), "a score lies beyond the bounds"),
    "scale not a number": (lambda d: d.update(scale=float("nan")), "the scale"),
    "scale zero": (lambda d: d.update(scale=0), "the scale"),
    "bound infinite": (lambda d: d.update(rounding_bound=float("inf")), "rounding bound"),
    "bit too high": (lambda d: d["monomials"][3][0].append(10_000), "wrong bit"),
    "bit negative": (lambda d: d["monomials"][3][0].insert(0, -1), "wrong bit"),
    "coefficient missing": (lambda d: d["monomials"][3][1].pop(), "wrong number of coefficients"),
    "coefficient bare": (lambda d: d["monomials"][3].__setitem__(1, 5), "number of coefficients"),
    "coefficient huge": (lambda d: d["monomials"][3][1].__setitem__(0, 2**70), "not a program"),
    "monomial missing": (lambda d: d["monomials"].pop(), "plan and polynomial differ"),
    "output missing": (lambda d: d["outputs"].pop(), "wrong"),
    "output more": (lambda d: d["outputs"].append("more"), "wrong"),
    "linear row missing": (lambda d: d["linear"].pop(), "wrong shape"),
    "linear ragged": (lambda d: d["linear"][0].pop(), "not a program file|wrong shape"),
    "linear text": (lambda d: d["linear"][0].__setitem__(0, "x"), "not a program file"),
    "lookup missing": (lambda d: d["lookups"].pop(), "plan and polynomial differ"),
    "lookup twice": (lambda d: d["lookups"].append(d["lookups"][0]), "plan and polynomial"),
    "lookup bit": (lambda d: d["lookups"][0]["bits"].__setitem__(0, 999), "wrong bit"),
    "lookup bits": (lambda d: d["lookups"][0]["bits"].pop(), "wrong bit"),
    "lookup weight": (lambda d: d["lookups"][0]["weights"].__setitem__(0, 16), "beyond its table"),
    "lookup negative": (lambda d: d["lookups"][0]["weights"].__setitem__(0, -1), "beyond its"),
    "lookup short": (lambda d: d["lookups"][0]["values"].pop(), "beyond its table"),
    "lookup empty": (lambda d: d["lookups"][0].update(values=[]), "beyond its table"),
    "lookup long": (lambda d: d["lookups"][0].update(values=[0] * 65), "wrong table"),
    "lookup output": (lambda d: d["lookups"][0].update(outputs=[6]), "wrong table or output"),
    "lookup nowhere": (lambda d: d["lookups"][0].update(outputs=[]), "plan and polynomial"),
    "extreme rows short": (lambda d: d["extreme_rows"][0].pop(), "not a program|wrong shape"),
    "extreme rows flat": (lambda d: d.update(extreme_rows=[1, 2]), "wrong shape"),
    "extreme row state": (lambda d: d["extreme_rows"][0].__setitem__(0, 9999), "does not exist"),
    "extreme row minus": (lambda d: d["extreme_rows"][0].__setitem__(3, -1), "does not exist"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_damaged_program_error_names_the_fault(reload, program, change):
    damage, fault = CHANGES[change]
    document = json.loads(program.to_json())
    damage(document)
    with pytest.raises(ProgramInvalid, match=fault):
        reload(document)


@settings(QUICK, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(["monomials", "linear", "values"]), st.sampled_from([-1, 1]))
def test_any_number_off_by_one_is_detected(reload, program, data, where, step):
    document = json.loads(program.to_json())
    lists = {
        "monomials": [coefficients for _, coefficients in document["monomials"]],
        "linear": document["linear"],
        "values": [lookup["values"] for lookup in document["lookups"]],
    }[where]
    numbers = data.draw(st.sampled_from(lists))
    numbers[data.draw(st.integers(0, len(numbers) - 1))] += step
    with pytest.raises(ProgramInvalid, match="plan and polynomial differ"):
        reload(document)


@settings(QUICK, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_additional_monomial_is_detected(reload, layout, small_programs, data):
    document = json.loads(small_programs["decide"].to_json())
    known = [bits for bits, _ in document["monomials"]]
    new = data.draw(monomials(layout).filter(lambda bits: list(bits) not in known))
    document["monomials"].append([list(new), [data.draw(st.sampled_from([-1, 1]))]])
    with pytest.raises(ProgramInvalid, match="plan and polynomial differ"):
        reload(document)


@settings(QUICK, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_program_cut_short_or_overwritten_is_refused(reload, small_programs, data):
    text = small_programs["decide"].to_json()
    cut = data.draw(st.integers(0, len(text) - 2))
    with pytest.raises(ProgramInvalid):
        reload(text[:cut] + data.draw(st.text(max_size=5)))


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"', "{}", "[" * 100_000, '{"format": 1}'])
def test_document_that_is_not_a_program_is_refused(reload, text):
    with pytest.raises(ProgramInvalid, match="not a program file"):
        reload(text)


def test_a_missing_and_a_huge_file_are_refused(tmp_path, layout):
    path = tmp_path / "p.json"
    with pytest.raises(ProgramInvalid, match=r"p\.json is not a program file"):
        Program.load(path, layout)
    path.touch()
    os.truncate(path, module.MAXIMUM_BYTES + 1)
    with pytest.raises(ProgramInvalid, match="larger than 64 MiB"):
        Program.load(path, layout)


def test_a_program_of_another_schema_is_refused(reload, small_programs, schema):
    other = Schema.parse(schema.model_dump(mode="json") | {"title": "Other"})
    with pytest.raises(ProgramInvalid, match="belongs to another schema"):
        small_programs["decide"].check(Layout(other))


def assert_explains(decide, explain, layout, bits):
    """Assert that every output of `explain` is `decide` on the row that it tries."""
    assert explain.outputs == explained_labels(layout.schema)
    assert len(set(explain.outputs)) == len(explain.outputs) == layout.schema.explained_outputs
    assert (explain.score_bits, explain.scale) == (decide.score_bits, decide.scale)
    explained = explain.scores(bits)
    for row, scores in zip(bits, explained, strict=True):
        others = decide.scores(counterfactual_rows(row, layout))[:, 0]
        assert scores.tolist() == others.tolist()
        assert (decide.low <= scores).all()
        assert (scores <= decide.high).all()
    assert (explain.plan.evaluate(bits, layout) == explained).all()


@settings(QUICK, max_examples=30)
@given(st.data())
def test_explain_equals_decide_for_every_value_tried_on_all_inputs(data):
    layout = Layout(data.draw(tiny_schemas(varied=True)))
    decide = data.draw(decide_programs(layout))
    assert_explains(decide, explain_program(decide, layout), layout, all_bits(layout)[:150])


def test_explain_equals_decide_for_every_bin_of_a_trained_model(
    layout, small_programs, credit_data
):
    decide = small_programs["decide"]
    extreme = layout.bits_of_states(decide.extreme_rows)
    sample = layout.bits_of_states(sample_states(layout, 100, seed=5))
    bits = np.concatenate([extreme, credit_data[1][0][:100], sample])
    assert_explains(decide, small_programs["explain"], layout, bits)


@settings(QUICK, max_examples=30)
@given(st.data())
def test_every_row_tried_is_the_record_with_the_changed_values(data):
    """The expected values are derived from the schema's document alone."""
    layout = Layout(data.draw(schemas(varied=True)))
    schema, own = layout.schema, layout.schema.explanation
    record = data.draw(records(schema))
    rows = counterfactual_rows(layout.encode(record), layout)

    def values(name, direction, steps):
        """Return a value for each step: at the cut, or just below it."""
        floors = [schema.column(name).bin_floor(i) for i in range(len(schema.column(name).cuts))]
        below = dict(zip(schema.column(name).cuts, floors, strict=True))
        return [{name: step if direction == "more" else below[step]} for step in steps]

    steps = own.steps or schema.explained_column.cuts
    single = {a.column: values(a.column, a.direction, a.steps) for a in own.alternatives}
    main = [v | own.assume for v in values(own.column, own.direction, steps)]
    end = {own.column: schema.explained_column.minimum} | own.assume
    if own.direction == "less":
        end[own.column] = schema.explained_column.cuts[-1]
    every = [end, *main] if own.direction == "more" else [*main, end]
    single[own.column] = main

    def paired(name):
        found = single[name]
        return (
            found if len(found) <= 3 else [found[0], found[round((len(found) - 1) / 2)], found[-1]]
        )

    changes = every + [c for a in own.alternatives for c in single[a.column]]
    changes += [a | b for first, second in own.pairs for a in paired(first) for b in paired(second)]
    assert len(changes) == len(rows)
    for change, row in zip(changes, rows, strict=True):
        assert (row == layout.encode(record | change)).all()


def test_reference_of_a_record_equals_that_of_its_bits(layout, small_programs, schema):
    record = {c.name: c.default for c in schema.columns()}
    for program in small_programs.values():
        scores = reference_record(program, record, layout)
        assert scores == reference_scores(program, layout.encode(record))
        assert len(scores) == len(program.outputs)
        assert all(type(score) is int for score in scores)
    with pytest.raises(ValueOutOfDomain, match="Age"):
        reference_record(small_programs["decide"], record | {"Age": 5}, layout)
