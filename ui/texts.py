"""What the page says of itself: what this is, who holds what, what is protected and what is not.

All of it follows from the public model: the parties' names from the schema, the truth about keys
from the engine's own facts.
"""

from __future__ import annotations

from engines.interface import DECIDE, EVALUATION_KEY, PUBLIC_KEY, PublicModel
from ui.units import escape, join_words, number_word


def introduction(public: PublicModel) -> str:
    """Title, two sentences, the engine, and a warning where nothing is encrypted."""
    schema = public.schema_
    names = [party.label.lower() for party in schema.parties]
    engine = public.engine
    warning = (
        ""
        if engine.encrypted
        else (
            '<p class="ts-alarm" role="note"><strong>Nothing is encrypted in this run.</strong> '
            f"The server uses the stand-in engine “{escape(engine.label)}”: good for trying the "
            "page, useless for real data.</p>"
        )
    )
    return f"""
<header class="ts-head">
  <p class="ts-brand">Triseal</p>
  <h1>{escape(schema.title)}, decided on encrypted data</h1>
  <p class="ts-lead">{number_word(len(names))} parties ({escape(join_words(names))}) each know a
  part of one application and encrypt it on their own side. A server that holds no key computes an
  XGBoost credit decision on the ciphertexts, and only the parties can open it.</p>
  <p class="ts-chips"><span>Engine: {escape(engine.label)}</span>
  <span>Model: {escape(public.model_version[:12])}</span>
  <span>A demonstration, not a credit decision</span></p>
  {warning}
</header>"""


def who_holds_what(public: PublicModel) -> str:
    """The table of things and who has them, as HTML."""
    engine = public.engine
    sealed = engine.encrypted
    hidden = "encrypted, cannot read it" if sealed else "readable: this engine hides nothing"
    opened = "encrypted, cannot open it" if sealed else "readable: this engine hides nothing"
    rows = [
        ("Each party's own record", "its owner alone, in the clear", hidden),
        ("Secret key", engine.secret_key, "never"),
        ("The model's trees", "never; only the schema is public", "yes, in the clear"),
        ("Decision and explanation", engine.opened, opened),
        ("Sizes, times, order of messages", "their own", "all of them"),
    ]
    if any(slot.file_name == EVALUATION_KEY for slot in public.slots):
        rows.insert(2, ("Evaluation key", "its maker", "yes: computes with it, cannot decrypt"))
    if any(slot.file_name == PUBLIC_KEY for slot in public.slots):
        rows.insert(2, ("Public key", "all of them", "yes: encrypts with it, cannot decrypt"))
    body = "".join(
        f'<tr><th scope="row">{escape(what)}</th><td data-who="Parties">{escape(parties)}</td>'
        f'<td data-who="Server">{escape(server)}</td></tr>'
        for what, parties, server in rows
    )
    return f"""
<table class="ts-table"><caption>Who holds what</caption>
<thead><tr><th scope="col">Thing</th><th scope="col">Parties</th><th scope="col">Server</th></tr>
</thead><tbody>{body}</tbody></table>"""


def protection(public: PublicModel) -> str:
    """Two lists: what is protected, and what is not."""
    engine = public.engine
    good, bad = [], []
    if engine.encrypted:
        good = [
            "The records, from the server: it computes on ciphertexts and has no key.",
            "The records, from the other parties: ciphertexts go to the server alone, and it "
            "gives none of them to another party.",
            "The decision and the explanation, from the server.",
            "The model's trees, from the parties.",
        ]
    else:
        bad.append("Anything at all: the stand-in engine encrypts nothing.")
    if engine.encrypted and not engine.joint_keys:
        bad.append(
            f"Against a party that works with the server. {engine.secret_key} With that key and "
            "the ciphertexts that the server stores, the records of the others could be opened."
        )
    if public.programs[DECIDE].score_bits > 1:
        bad.append(
            "The score: it is opened together with the decision, and says how close it was. Many "
            "scores of chosen records would tell something about the model."
        )
    bad += [
        "A server that computes something else: it is trusted to run the right program, and the "
        "result carries no proof.",
        "On this page every party is played by one process on one machine, which therefore sees "
        + (
            "all records, and could bring the parts of the secret key together. "
            if engine.joint_keys
            else "all records and keys. "
        )
        + "Apart, each party would run its own.",
    ]
    return two_lists(good, bad) + about_model(public)


def two_lists(good: list[str], bad: list[str]) -> str:
    """What is protected and what is not, side by side; an empty list is left out."""
    lists = "".join(
        f"<div><h3>{title}</h3><ul>"
        + "".join(f"<li>{escape(item)}</li>" for item in items)
        + "</ul></div>"
        for title, items in (("Protected", good), ("Not protected", bad))
        if items
    )
    return f'<div class="ts-two">{lists}</div>'


def about_model(public: PublicModel) -> str:
    """What the data is, and that nobody may be judged by the answer."""
    about = escape(public.schema_.description)
    return f"""
<p class="ts-note">{about} What the page says of an application is a likelihood under one model,
trained on the data that its model card describes; it is never a promise, and nobody should be
granted or refused credit by it.</p>"""
