"""What the stage and the parties' own pages say of joint keys: who holds what, what is protected.

Parties' names come from the schema, the truth about keys from the engine's own facts.
"""

from __future__ import annotations

from collections.abc import Sequence

from engines.interface import DECIDE, PublicModel
from features.schema import Party
from ui.texts import about_model, two_lists
from ui.units import escape, join_words, number_word


def stage_introduction(public: PublicModel) -> str:
    """Title, what happens here, and the chips."""
    schema = public.schema_
    names = [party.label.lower() for party in schema.parties]
    count = number_word(len(names))
    return f"""
<header class="ts-head">
  <p class="ts-brand">Triseal</p>
  <h1>{escape(schema.title)}, decided on encrypted data</h1>
  <p class="ts-lead">{count} parties ({escape(join_words(names))}) each know a part of one
  application. Each runs a process of its own, with its own page below; together they make a key
  that none of them holds, encrypt under it, and open the answer. A server without any key computes
  an XGBoost credit decision on the ciphertexts.</p>
  <p class="ts-chips"><span>Engine: {escape(public.engine.label)}</span>
  <span>Model: {escape(public.model_version[:12])}</span>
  <span>A demonstration, not a credit decision</span></p>
</header>"""


def stage_holds(public: PublicModel) -> str:
    """The table of things, and which of the parties, the server and the stage has them."""
    rows = [
        ("A party's record", "its owner alone, in the clear", "never", "never"),
        ("Encrypted records", "their own", "all, cannot read them", "never"),
        ("Secret key", public.engine.secret_key, "never", "never"),
        (
            "A party's part of it",
            "its owner's process and folder, erased with the application",
            "never",
            "never",
        ),
        ("Public key", "all of them", "yes: encrypts, cannot decrypt", "never"),
        (
            "Join codes",
            "its own; with the secret by which the parties know each other",
            "its half of each code, not the parties' secret",
            "yes: it makes them and puts them into the frames' addresses",
        ),
        (
            "What opens a party's own page",
            "its own",
            "never",
            "in the demonstration, all of them, in the frames' addresses",
        ),
        (
            "Messages between the parties",
            "those to it",
            "relays them sealed, cannot read them",
            "sizes and times",
        ),
        ("Decision and explanation", public.engine.opened, "encrypted, cannot open it", "never"),
        ("The model's trees", "never; only the schema is public", "yes, in the clear", "never"),
        ("Sizes, times, order of messages", "their own", "all of them", "all, by its watch token"),
    ]
    return _table(("Parties", "Server", "This page"), rows)


def stage_protection(public: PublicModel) -> str:
    """Two lists: what is protected, and what is not."""
    schema, others = public.schema_, len(public.schema_.parties) - 1
    together = "the other one" if others == 1 else f"the {number_word(others).lower()} others"
    good = [
        "The records, from the server: it computes on ciphertexts and has no key.",
        f"A party's record, from {together}, even together and with the server: without that "
        "party's own part nothing can be decrypted.",
        "The decision and the explanation, from the server, and from parties that are not among "
        "the application's readers.",
        "What the parties send each other, from the server that relays it: it is sealed.",
        "The model's trees, from the parties.",
    ]
    bad = []
    if public.programs[DECIDE].score_bits > 1:
        bad.append(
            "The score: it is opened together with the decision, and says how close it was. Many "
            "scores of chosen records would tell something about the model."
        )
    bad += [
        f"The {schema.party(schema.explained_party).label.lower()}'s value of "
        f"“{schema.explained_column.label}”, once an explanation is opened: it gives the score of "
        "every range, and the one that equals the decision's score is the applicant's own.",
        "A server that computes something else: it is trusted to run the right program, and the "
        "result carries no proof. Parties are trusted to keep to the protocol; what is caught "
        "where one does not is in docs/PROTOCOL.md.",
        "Whoever makes the join codes, here this page, could join in a party's place before it "
        "does. The parties notice when they compare the key's fingerprint by another channel.",
        "Here all processes run on one machine and under one user, who could read every folder. "
        "Apart, each party runs its own.",
    ]
    return two_lists(good, bad) + about_model(public)


def agent_holds(public: PublicModel, party: Party) -> str:
    """What one party's process has, and what it never gets."""
    others = [other.label.lower() for other in public.schema_.parties if other is not party]
    of_others = escape(join_words([f"the {name}" for name in others]))
    holds = [
        "its own record",
        "its own part of the secret key, in a folder that only its user can read",
        "the public key, under which everything is encrypted",
        "the secret of the join code, by which the parties know each other",
        "the answer, once opened, where it is among the application's readers",
    ]
    never = [
        f"the records of {of_others}",
        "the whole secret key, which exists nowhere, or another's part of it",
        "the others' ciphertexts",
        "the model's trees",
    ]
    lists = "".join(
        f"<div><h3>{title}</h3><ul>{''.join(f'<li>{item}</li>' for item in items)}</ul></div>"
        for title, items in (("This process holds", holds), ("It never gets", never))
    )
    return f'<div class="ts-two">{lists}</div>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    columns = "".join(f'<th scope="col">{escape(head)}</th>' for head in ("Thing", *heads))
    body = "".join(
        f'<tr><th scope="row">{escape(what)}</th>'
        + "".join(
            f'<td data-who="{escape(head)}">{escape(cell)}</td>'
            for head, cell in zip(heads, cells, strict=True)
        )
        + "</tr>"
        for what, *cells in rows
    )
    return (
        '<table class="ts-table ts-holds"><caption>Who holds what</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>"
    )
