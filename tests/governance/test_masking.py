"""No masked value leaves, tokens of two partners are unrelated, and unmasked fields are refused."""

from __future__ import annotations

import hashlib
import math
import string
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from governance import masking
from governance.masking import (
    Band,
    Clear,
    Drop,
    Hash,
    Partial,
    Redact,
    Token,
    age_on,
    band_of,
    mask,
    stricter,
)
from utils.errors import DataSetInvalid, PolicyDenied

KEY = bytes(range(32))
TODAY = date(2027, 3, 1)
AGES = (18, 25, 35, 45, 55, 65)
HIDING = st.sampled_from([Redact(), Partial(), Token(), Hash(), Drop()])
# The ß cannot occur by chance in digits, a mask's constant words or a digest.
VALUES = st.builds(
    "{}ß{}".format,
    st.text(string.ascii_letters + string.digits + " .@+-ä•", min_size=2, max_size=20),
    st.text(string.ascii_letters + string.digits + " .@+-ä•", min_size=1, max_size=20),
)


def masked(value, rule, partner="bank-1", key=KEY, **options):
    return mask({"field": value}, {"field": rule}, key, partner, today=TODAY, **options)


@given(st.dictionaries(st.sampled_from("abcdef"), st.tuples(VALUES, HIDING), min_size=1))
@settings(deadline=None, max_examples=200)
def test_masked_value_is_not_in_the_released_record(record) -> None:
    values = {name: value for name, (value, _) in record.items()}
    masks = {name: rule for name, (_, rule) in record.items()}
    released = mask(values, masks, KEY, "bank-1")
    for name, value in values.items():
        assert value not in str(released)
        if isinstance(masks[name], Partial):
            shown = released[name].removeprefix(masking.HIDDEN)
            assert shown == masking.REDACTED or (len(shown) == 4 and value.endswith(shown))
        assert (name in released) != isinstance(masks[name], Drop)


@given(VALUES)
@settings(deadline=None)
def test_clear_field_is_released_which_the_property_above_would_notice(value) -> None:
    assert masked(value, Clear()) == {"field": value}


@given(VALUES, VALUES, st.text(min_size=1, max_size=9), st.text(min_size=1, max_size=9))
@settings(deadline=None)
def test_tokens_differ_across_partners_values_and_fields(value, other, partner, second) -> None:
    first = masked(value, Token(), partner)
    assert masked(value, Token(), partner) == first
    if partner != second:
        assert masked(value, Token(), second) != first
    if value != other:
        assert masked(other, Token(), partner) != first
    assert masked(value, Token(), partner, key=bytes(32)) != first
    elsewhere = mask({"other": value}, {"other": Token()}, KEY, partner)
    assert elsewhere["other"] != first["field"]


def test_token_parts_cannot_be_shifted_between_partner_and_field() -> None:
    one = mask({"bc": "x123"}, {"bc": Token()}, KEY, "a")
    two = mask({"c": "x123"}, {"c": Token()}, KEY, "ab")
    assert one["bc"] != two["c"]


def test_two_partners_join_by_hash_of_a_guess_but_not_by_token() -> None:
    """The control: an unkeyed hash is inverted by trying all values, a token is not."""
    phones = [f"+49 30 {number:04}" for number in range(2000)]
    _, salt, digest = masked(phones[1234], Hash())["field"].split(":")
    guessed = [
        p for p in phones if hashlib.sha256(bytes.fromhex(salt) + p.encode()).hexdigest() == digest
    ]
    assert guessed == [phones[1234]]
    token = masked(phones[1234], Token())["field"]
    assert all(hashlib.sha256(p.encode()).hexdigest()[:32] not in token for p in phones)
    assert all(masked(p, Token(), key=bytes(32))["field"] != token for p in phones)


def test_hashes_of_two_releases_cannot_be_joined() -> None:
    assert masked("same value", Hash()) != masked("same value", Hash())


@pytest.mark.parametrize("value", ["1234", "••••1234", "1234567", "••••••••"])
def test_partial_never_shows_most_of_a_value(value) -> None:
    assert masked(value, Partial()) == {"field": masking.REDACTED}


def test_partial_shows_the_last_four() -> None:
    assert masked("DE89370400440532013000", Partial()) == {"field": "••••3000"}
    assert masked(5512345678, Partial(last=2)) == {"field": "••••78"}


@pytest.mark.parametrize(
    ("value", "band"),
    [
        (17, "under 18"), (17.99, "under 18"), (18, "18–24"), (24.99, "18–24"), ("25", "25–34"),
        (64, "55–64"), (65, "65 or more"), (10**9, "65 or more"), (-1, "under 18"),
    ],
)  # fmt: skip
def test_band_of_an_age(value, band) -> None:
    assert masked(value, Band(cuts=AGES)) == {"field": band}


@given(
    st.floats(-1e9, 1e9) | st.integers(-(10**9), 10**9),
    st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=9, unique=True).map(sorted),
)
@settings(deadline=None)
def test_band_depends_only_on_the_cuts_below(number, cuts) -> None:
    below = [cut for cut in cuts if cut <= number]
    assert band_of(number, tuple(cuts)) == band_of(max(below, default=-math.inf), tuple(cuts))


def test_money_band_does_not_spell_the_value_at_its_cut() -> None:
    assert masked(30000, Band(cuts=(0, 30_000, 40_000))) == {"field": "30,000–39,999"}


@given(st.dates(date(1900, 1, 1), TODAY))
def test_age_counts_birthdays(born) -> None:
    birthdays = sum(
        (born.year + n, born.month, born.day) <= (TODAY.year, TODAY.month, TODAY.day)
        for n in range(1, 200)
    )
    assert age_on(born, TODAY) == birthdays


def test_birth_date_becomes_an_age_band() -> None:
    rule = Band(cuts=AGES, of="birth_date")
    assert masked("2000-02-29", rule) == {"field": "25–34"}
    assert masked((TODAY - timedelta(365 * 18)).isoformat(), rule) == {"field": "under 18"}
    for wrong in ("29.02.2000", "2099-01-01", 20000229):
        with pytest.raises(DataSetInvalid) as caught:
            masked(wrong, rule)
        assert str(wrong) not in caught.value.message
    with pytest.raises(DataSetInvalid, match="current day"):
        mask({"f": "2000-01-01"}, {"f": rule}, KEY, "p")


def test_field_without_mask_is_refused_and_nothing_is_released() -> None:
    with pytest.raises(PolicyDenied, match="secret_field") as caught:
        mask({"a": "shown", "secret_field": "4711-0815"}, {"a": Clear()}, KEY, "bank-1")
    assert "4711" not in caught.value.message
    # The control: with a mask for each field the same record passes.
    fine = mask({"a": "shown", "secret_field": "4711-0815"}, {"a": Clear(), "secret_field": Drop()},
                KEY, "bank-1")  # fmt: skip
    assert fine == {"a": "shown"}


@pytest.mark.parametrize("value", [["a"], {"b": 1}, float("nan"), float("inf"), b"x", "y" * 10_001])
def test_value_that_is_not_a_bounded_scalar_is_refused(value) -> None:
    for rule in (Clear(), Token(), Drop()):
        with pytest.raises(DataSetInvalid, match="field"):
            masked(value, rule)


@pytest.mark.parametrize("value", ["high", True, "nan", "inf", 10**400])
def test_band_of_no_number_is_refused_without_the_value(value) -> None:
    with pytest.raises(DataSetInvalid) as caught:
        masked(value, Band(cuts=AGES))
    assert str(value) not in caught.value.message


def test_weak_key_salt_and_nameless_partner_are_refused() -> None:
    with pytest.raises(DataSetInvalid, match="31 bytes"):
        masked("value", Token(), key=bytes(31))
    with pytest.raises(DataSetInvalid, match="salt"):
        masked("value", Hash(), salt=b"short")
    with pytest.raises(PolicyDenied, match="named partner"):
        masked("value", Token(), partner="")


def test_missing_value_is_hidden_only_by_redact_and_drop() -> None:
    for rule in (Clear(), Partial(), Token(), Band(cuts=AGES), Hash()):
        assert masked(None, rule) == {"field": None}
    assert masked(None, Redact()) == masked("value", Redact())
    assert masked(None, Drop()) == {}


def test_number_from_csv_and_json_has_one_token() -> None:
    assert masked(12, Token()) == masked("12", Token()) == masked(12.0, Token())


def test_stricter_mask_wins() -> None:
    ordered = [Clear(), Band(cuts=(1, 2)), Band(cuts=(1,)), Partial(), Partial(last=2), Hash(),
               Token(), Redact(), Drop()]  # fmt: skip
    for i, low in enumerate(ordered):
        for high in ordered[i:]:
            assert stricter(low, high) == stricter(high, low) == high


@pytest.mark.parametrize("cuts", [(), (3, 3), (3, 2), (1.5, 2), tuple(range(65))])
def test_unusable_cuts_are_refused(cuts) -> None:
    with pytest.raises(ValidationError):
        Band(cuts=cuts)
