"""Notices name reasons, sources and rights, escape everything, and print the same as PDF."""

import copy
import re
from datetime import date
from pathlib import Path

import pytest

from features.schema import Schema
from notices.content import Change, notice_content
from notices.html import KINDS, LANGUAGES, notice_html
from notices.pdf import notice_pdf
from settings import ROOT
from tests.pdf_text import pdf_text
from utils.errors import NoticeUnavailable, SchemaInvalid

DAY = date(2026, 11, 29)
SHIPPED = Schema.load(ROOT / "features" / "credit_card.json")
CHANGES = [
    (Change("Years employed", "more", "8", "years"),),
    (Change("Total income", "more", "120000.5"), Change("Debt", "under", "40", "%")),
]
EVERY = [(kind, language) for kind in KINDS for language in LANGUAGES]


def content(schema=SHIPPED, count=2, language="en", **more):
    reasons = None if count is None else schema.stated_reasons[:count]
    return notice_content(schema, "A-1", DAY, reasons, language, **more)


def words(html):
    text = re.sub(r"<(style|title)>.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_a_notice_names_reasons_sources_and_rights(kind, language):
    text = words(notice_html(content(language=language, changes=CHANGES), kind, language))
    for reason in SHIPPED.stated_reasons[:2]:
        assert reason.texts.get(language, reason.text) in text
    for party in SHIPPED.parties:
        assert all(column.label in text for column in party.columns)
    assert ("120,000.5" if language == "en" else "120.000,5") in text and "40 %" in text
    assert "2026" in text and "A-1" in text
    assert ("1681m" in text) == (kind == "us")
    assert ("2023/2225" in text) == (kind == "eu")
    # 30 days after the notice.
    assert ("December 29" if language == "en" else "29. Dezember") in text
    assert not re.search(r"compl(ies|iant)|satisf|konform|erfüllt", text, re.IGNORECASE)


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_a_notice_after_a_referral_says_that_a_person_decided(kind, language):
    alone = words(notice_html(content(language=language), kind, language))
    said = content(language=language, person_words="Debts & <b>rent</b>.")
    page = notice_html(said, kind, language)
    text = words(page)
    person = "who made the decision" if language == "en" else "der entschieden hat"
    assert person in text and person not in alone
    assert "Debts &amp; &lt;b&gt;rent&lt;/b&gt;." in page
    if kind == "eu":
        nobody = "no person took part" if language == "en" else "ohne dass ein Mensch mitwirkte"
        assert nobody in alone and nobody not in text
    # The review is over, so that no day is named until which to ask for one.
    day = "December 29" if language == "en" else "29. Dezember"
    assert day in alone and day not in text
    unreadable = words(notice_html(content(language=language, person_words=""), kind, language))
    assert person in unreadable and "“" not in unreadable and "„" not in unreadable


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_without_opened_reasons_a_notice_says_how_to_get_them(kind, language):
    opened = words(notice_html(content(count=0, changes=CHANGES), kind, language))
    unknown = words(notice_html(content(count=None, changes=CHANGES), kind, language))
    later = "have not been computed yet" if language == "en" else "noch nicht berechnet"
    assert later in unknown and later not in opened
    if kind == "us":  # 12 CFR 1002.9(a)(2)(ii)
        assert "60" in unknown and "30" in unknown


def test_text_of_the_schema_is_escaped():
    document = copy.deepcopy(SHIPPED.model_dump(mode="json"))
    document["parties"][0]["columns"][0]["label"] = "<img src=x onerror=alert(1)>"
    document["parties"][1]["address"] = "{{ notice.__class__ }} & Sons <script>"
    html = notice_html(content(Schema.parse(document)), "us", "en")
    assert "<img" not in html and "<script" not in html
    assert "&lt;img src=x" in html and "{{ notice.__class__ }} &amp; Sons" in html
    assert "<imgsrc=x" in pdf_text(notice_pdf(html, DAY)).replace(" ", "")


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_the_pdf_says_what_the_page_says(kind, language):
    html = notice_html(content(language=language, changes=CHANGES), kind, language)
    data = notice_pdf(html, DAY)
    assert data == notice_pdf(html, DAY)
    printed, shown = pdf_text(data), words(html)
    missing = [word for word in shown.replace("ﬁ", "fi").split() if word not in printed]
    assert not missing


def test_the_longest_schema_has_a_notice():
    """A party's 128 columns with labels of 80 characters take more than a page in a table."""
    document = SHIPPED.model_dump(mode="json")
    columns = document["parties"][0]["columns"]
    columns += [
        {"kind": "boolean", "name": f"c{i}", "label": f"no. {i} ".ljust(80, "x")}
        for i in range(len(columns), 128)
    ]
    printed = pdf_text(notice_pdf(notice_html(content(Schema.parse(document)), "eu", "en"), DAY))
    assert "no. 64 " in printed and "no. 127 " in printed
    # A longer text takes the PDF minutes.
    name = columns[0]["name"]
    document["reasons"] = [
        {"name": "r", "columns": [name], "text": "t", "texts": {"de": "x" * 200}}
    ]
    Schema.parse(document)
    document["reasons"][0]["texts"]["de"] += "x"
    with pytest.raises(SchemaInvalid, match="at most 200 characters"):
        Schema.parse(document)


def test_a_review_is_offered_no_longer_than_the_application_lasts():
    html = notice_html(content(ends=date(2026, 12, 1)), "us", "en")
    assert "December 1, 2026" in html and "December 29" not in html


def test_letters_that_the_fonts_lack_are_question_marks():
    document = SHIPPED.model_dump(mode="json")
    document["parties"][1]["address"] = "Банк € Zürich"
    html = notice_html(content(Schema.parse(document)), "eu", "de")
    assert "Банк" in html
    assert "???? € Zürich" in pdf_text(notice_pdf(html, DAY))


def test_a_lenders_own_template_comes_first_and_runs_in_the_sandbox(tmp_path):
    own = tmp_path / "us.en.html.j2"
    own.write_text("<p>{{ notice.lender.name }} regrets.</p>")
    assert notice_html(content(), "us", "en", tmp_path) == "<p>Bank regrets.</p>"
    assert "Hauptgründe" in notice_html(content(), "us", "de", tmp_path)
    for text in ("{{ notice.__class__.__mro__ }}", "{{ nothing }}", "{% if %}"):
        own.write_text(text)
        with pytest.raises(NoticeUnavailable, match=r"us\.en\.html\.j2 cannot be used"):
            notice_html(content(), "us", "en", tmp_path)


@pytest.mark.parametrize("name", [("../us", "en"), ("us", "fr"), ("", "")])
def test_unknown_notices_are_refused(name):
    with pytest.raises(NoticeUnavailable, match="There is no notice"):
        notice_html(content(), *name)


def test_templates_of_every_kind_and_language_are_there():
    found = {path.name for path in Path(ROOT, "notices", "templates").glob("*.j2")}
    assert found == {"layout.html.j2", *(f"{k}.{lang}.html.j2" for k, lang in EVERY)}
