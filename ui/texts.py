"""Texts of the single page: introduction, holders of the data, protections and their limits.

All of them follow from the public model: the parties' names from the schema, statements about keys
from the engine's own facts.
"""

from __future__ import annotations

from engines.interface import DECIDE, EVALUATION_KEY, PUBLIC_KEY, PublicModel
from parties.joint.witnesses import witness_words
from ui.units import escape, join_words, number_word

COMPARE_MODELS = (
    "Compare the model fingerprint with the other parties over another channel: equal digits show "
    "that the server gave all of them the same model."
)


def hidden_score(public: PublicModel) -> str:
    """Return what is opened in place of the score."""
    refers = public.schema_.decision.refer_below is not None
    opened = "approved, referred or denied" if refers else "approved or denied"
    return f"The score, from everybody: only {opened} is opened."


def referral_limit(public: PublicModel) -> list[str]:
    """Return the sentence on what a referral tells the server; empty if nobody is referred."""
    if public.schema_.decision.refer_below is None:
        return []
    return [
        "From the server: that an application is referred to a person, since it keeps the review "
        "that the applicant's or the lender's process opens then."
    ]


def introduction(public: PublicModel) -> str:
    """Return the page header, with a warning if nothing is encrypted."""
    schema = public.schema_
    names = [party.label.lower() for party in schema.parties]
    engine = public.engine
    warning = (
        ""
        if engine.encrypted
        else (
            '<p class="ts-alarm" role="note"><strong>Nothing is encrypted in this run.</strong> '
            f"The server uses the stand-in engine “{escape(engine.label)}”: use it to try the "
            "page, never with real data.</p>"
        )
    )
    return f"""
<header class="ts-head">
  <p class="ts-brand">Triseal</p>
  <h1>{escape(schema.title)}, decided on encrypted data</h1>
  <p class="ts-lead">{number_word(len(names))} parties ({escape(join_words(names))}) each know a
  part of one application and encrypt it before it leaves them. A server that cannot decrypt
  computes an XGBoost credit decision on the ciphertexts, and only the parties can open it.</p>
  <p class="ts-chips"><span>Engine: {escape(engine.label)}</span>
  <span>Model fingerprint: {escape(public.fingerprint)}</span>
  <span>A demonstration, not a credit decision</span></p>
  <p class="ts-note">{COMPARE_MODELS}</p>
  <p class="ts-note">{escape(witness_words(()))}</p>
  {warning}
</header>"""


def who_holds_what(public: PublicModel) -> str:
    """Return the table of what the parties and the server hold."""
    engine = public.engine
    sealed = engine.encrypted
    hidden = "encrypted, cannot read it" if sealed else "readable: this engine hides nothing"
    opened = "encrypted, cannot open it" if sealed else "readable: this engine hides nothing"
    rows = [
        ("Each party's own record", "only its owner, in the clear", hidden),
        ("Secret key", engine.secret_key, "never"),
        ("The model's trees", "never; only the schema is public", "yes, in the clear"),
        ("Decision and explanation", engine.opened, opened),
        ("Message sizes, times, order", "each its own", "all of them"),
    ]
    if any(slot.file_name == EVALUATION_KEY for slot in public.slots):
        rows.insert(2, ("Evaluation key", "its maker", "yes; it computes but cannot decrypt"))
    if any(slot.file_name == PUBLIC_KEY for slot in public.slots):
        rows.insert(2, ("Public key", "all parties", "yes; it encrypts but cannot decrypt"))
    body = "".join(
        f'<tr><th scope="row">{escape(what)}</th><td data-who="Parties">{escape(parties)}</td>'
        f'<td data-who="Server">{escape(server)}</td></tr>'
        for what, parties, server in rows
    )
    return f"""
<table class="ts-table"><caption>Who holds what</caption>
<thead><tr><th scope="col">Item</th><th scope="col">Parties</th><th scope="col">Server</th></tr>
</thead><tbody>{body}</tbody></table>"""


def protection(public: PublicModel) -> str:
    """Return two lists, the protections and their limits, and the note on the model."""
    engine = public.engine
    good, bad = [], []
    if engine.encrypted:
        good = [
            "The records, from the server: it computes on ciphertexts and has no decryption key.",
            "The records, from the other parties: ciphertexts go only to the server, which "
            "passes none of them on.",
            "The decision and the explanation, from the server.",
            "The model's trees, from the parties.",
        ]
    else:
        bad.append("Everything: the stand-in engine does not encrypt.")
    if engine.encrypted and not engine.joint_keys:
        bad.append(
            f"Against a party that colludes with the server. {engine.secret_key} With that key and "
            "the ciphertexts stored on the server, the other parties' records could be decrypted."
        )
    if public.opens_sign(DECIDE):
        good.append(hidden_score(public))
    else:
        bad.append(
            "The score: it is opened with the decision and shows how close the decision was. The "
            "scores of many chosen records would reveal something about the model."
        )
    bad += [
        "Against a dishonest server: it is trusted to run the right program, and the result "
        "carries no proof.",
        "On this page one process plays all parties and therefore "
        + (
            "sees all records, and could bring the parts of the secret key together. "
            if engine.joint_keys
            else "sees all records and keys. "
        )
        + "In production each party runs its own process.",
    ]
    return two_lists(good, bad) + about_model(public)


def two_lists(
    good: list[str], bad: list[str], titles: tuple[str, str] = ("Protected", "Not protected")
) -> str:
    """Return both lists side by side; an empty list is omitted."""
    lists = "".join(
        f"<div><h3>{title}</h3><ul>"
        + "".join(f"<li>{escape(item)}</li>" for item in items)
        + "</ul></div>"
        for title, items in zip(titles, (good, bad), strict=True)
        if items
    )
    return f'<div class="ts-two">{lists}</div>'


def about_model(public: PublicModel) -> str:
    """Return a note on the training data and on the limits of the result."""
    about = escape(public.schema_.description)
    return f"""
<p class="ts-note">{about} Every result on this page is a likelihood under one model, trained on
the data described in its model card. It is not a promise, and no one should be granted or refused
credit on the basis of it.</p>"""
