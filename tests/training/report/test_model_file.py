"""The model file and its layout: what it says of own schemas, of changes, and with any text."""

import pytest

from engines.deployment import Manifest
from features.schema import Schema
from tests.conftest import METRICS
from tests.pdf_text import pdf_text
from training.model_card import limits
from training.report.document import Heading, Items, Table, Text, markdown
from training.report.model_file import model_file, previous_manifest
from training.report.pdf import pdf

OWN = {
    "name": "my_bank",
    "title": "Loans",
    "parties": [
        {
            "name": "a",
            "label": "Applicant",
            "columns": [
                {"name": "gender", "label": "Gender", "kind": "categorical", "values": ["f", "m"]}
            ],
        },
        {
            "name": "b",
            "label": "Bank",
            "columns": [
                {"name": "debt", "label": "Debt", "kind": "ordinal", "minimum": 0, "maximum": 9}
                | {"cuts": [5], "monotone": "falling"}
            ],
        },
    ],
    "decision": {"target": "bad"},
    "reasons": [
        {
            "name": "debts",
            "columns": ["debt"],
            "text": "Debts too high",
            "texts": {"de": "Schulden"},
        }
    ],
}


def manifest_of(version="aa", **files):
    digests = {"schema.json": "11", "booster.json": "22", "concrete/server.zip": "33"} | files
    return Manifest(
        format=1,
        model_version=version,
        schema_fingerprint="ff",
        versions={"numpy": "2"},
        engines={"clear": {}},
        files=digests,
    )


@pytest.fixture(scope="module")
def written(small_programs):
    """Return a function from metrics and a previous manifest to the file of an own schema."""

    def write(metrics, previous=None):
        arguments = (manifest_of(), "dd", small_programs, "Checked.", previous)
        return markdown(model_file(Schema.parse(OWN), metrics, *arguments))

    return write


def test_file_of_an_own_schema_asks_for_a_lawyer_and_is_no_demonstration(written):
    text = written(METRICS)
    assert "matched by words in their names and labels: a lawyer has to confirm it" in text
    assert "| gender (Gender) | Applicant | 2 categories | sex | kept out |" in text
    assert "Directive 2004/113/EC Art. 4(1): Women and men" in text
    assert "| debt (Debt) | Bank | 2 public bins, falling |" in text
    assert "| debts | debt | Debts too high | de |" in text
    assert "| manifest.json | dd |" in text and "concrete/server.zip" not in text
    assert "demonstration" not in text and "Inputs not to be used to score consumers" in text
    assert "AUC 0.7900" in text and "replaced no other model version" in text


def test_file_of_an_imported_booster_has_no_measurements(written):
    text = written(None)
    assert "its training data is unknown here" in text and "Not measured" in text


def test_decision_rule_of_the_training_is_stated(written):
    rule = {"kind": "approve-below", "value": 0.05, "cut_off_probability": 0.0501}
    text = written(METRICS | {"decision_rule": rule})
    assert "kind approve-below, value 0.05, cut off probability 0.0501" in text


def test_change_log_names_the_replaced_version_and_its_files(written):
    text = written(METRICS, manifest_of("bb", **{"booster.json": "99"}))
    assert "`aa` replaced `bb`, which was compiled for clear." in text
    assert "Files that differ: booster.json." in text and "| booster.json | 99 |" in text
    assert written(METRICS, manifest_of("aa")) == written(METRICS)  # compiled again


def test_a_damaged_manifest_of_a_replaced_deployment_is_no_previous_one(tmp_path):
    assert previous_manifest(tmp_path) is None
    (tmp_path / "manifest.json").write_text("{")
    assert previous_manifest(tmp_path) is None
    (tmp_path / "manifest.json").write_text(manifest_of("bb").model_dump_json())
    assert previous_manifest(tmp_path).model_version == "bb"


def test_limits_of_a_shipped_schema_forbid_real_decisions(schema):
    assert "must not be used for real credit decisions" in limits(schema)[0]
    assert all("demonstration" not in text for text in limits(Schema.parse(OWN)))


BLOCKS = [
    Heading("Title <b>", 1),
    Text("One\nline & `code`"),
    Items(("first", "second")),
    Table(("a", "b"), (("x | y", "1"), ("(z)", "2")), numbers=1),
]


def test_markdown_escapes_what_would_change_its_layout():
    assert markdown(BLOCKS) == (
        "# Title &lt;b>\n\nOne line & `code`\n\n- first\n- second\n\n"
        "| a | b |\n| --- | ---: |\n| x \\| y | 1 |\n| (z) | 2 |\n"
    )


def test_pdf_repeats_and_has_all_text_without_markup():
    data = pdf(BLOCKS, "Title", "foot")
    assert data == pdf(BLOCKS, "Title", "foot") and data.startswith(b"%PDF-")
    text = pdf_text(data)
    for shown in ("Title < b >", "One line & code", "first", "x | y", "(z)", "foot", "Page 1"):
        assert shown in text
    long = [Table(("a",), ((("word " * 5000),),)), *[Text("more")] * 200]
    assert "Page 3" in pdf_text(pdf(long, "Title", "\N{SNOWMAN}"))
