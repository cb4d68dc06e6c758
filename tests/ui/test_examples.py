"""Example applicants: of the file where they fit, otherwise made from the schema."""

import json

from features.encoding import Layout
from tests.ui.conftest import with_parties
from ui.examples import load_examples


def test_examples_are_offered_only_if_they_fit(schema, tmp_path):
    assert load_examples(schema)[0].label == "Long employed, homeowner"
    made = [e.label for e in load_examples(schema, path=tmp_path / "none.json")]
    assert made[0] == "Typical applicant"
    bad = {"label": "bad", "record": load_examples(schema)[0].record | {"Age": 7}}
    broken = json.dumps({"model_version": "", "examples": [bad]})
    (tmp_path / "bad.json").write_text(broken)
    assert [e.label for e in load_examples(schema, path=tmp_path / "bad.json")] == made


def test_an_own_schema_has_examples_made_from_its_first_values():
    schema = with_parties(2)
    typical, high, low = load_examples(schema)
    column = schema.explained_column
    for example in (typical, high, low):
        bits = Layout(schema).encode(example.record)
        assert len(bits) == Layout(schema).n_bits
    assert high.record[column.name] == column.cuts[-1]
    assert low.record[column.name] == column.minimum
    same = {name: value for name, value in low.record.items() if name != column.name}
    assumed = schema.explanation.assume
    assert same == {n: v for n, v in (typical.record | assumed).items() if n != column.name}
