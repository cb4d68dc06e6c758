"""The benchmark's results for the levelled engine: rows for JSON, and tables."""

from __future__ import annotations

from typing import Any

from engines.interface import DECIDE, EXPLAIN, REASONS
from engines.levelled.build import SCORE, SIGN
from training.measure.text_tables import Table, figure, labelled

LEVELLED, UNMODIFIED = "levelled", "levelled_40x3"
COLUMNS = (LEVELLED, "concrete", UNMODIFIED, "concrete_ml")
"""The deployment's model on two engines, and two models of 40 trees of depth 3."""
_HEADS = (
    "",
    "levelled",
    "on Concrete",
    "levelled, XGBoost 40 x 3",
    "Concrete ML 40 x 3",
    "ratio, deployed model",
    "ratio, XGBoost 40 x 3",
)
_MEGABYTE = 1e6


def levelled_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row per figure for the engines of COLUMNS; empty if levelled was not measured.

    `ratio` is Concrete ML's value divided by that of the unmodified model of the same shape,
    `ratio_deployed` by that of the deployed model.
    """
    engines = result["engines"]
    if LEVELLED not in engines:
        return []

    def row(name: str, unit: str, *path: str, scale: float = 1.0) -> dict[str, Any]:
        values = {column: _at(engines.get(column), path) for column in COLUMNS}
        scaled = {c: v if v is None or scale == 1.0 else v / scale for c, v in values.items()}
        return _row(name, unit, scaled)

    def steps(name: str, unit: str, *path: str, scale: float = 1.0) -> dict[str, Any]:
        return row(name, unit, "steps", *path, scale=scale)

    uploads = {
        column: {p: sum(s) for p, s in engines[column]["recorded"]["input_bytes"].items()}
        for column in COLUMNS
        if column in engines
    }
    parties = list(engines[LEVELLED]["recorded"]["input_bytes"])
    signs = "mask_bytes" in engines[LEVELLED]["recorded"]
    rows = []
    for name, words in ((DECIDE, "decide"), (EXPLAIN, "explain")):
        rows += [
            row(words if name == DECIDE else "explain, every bin", "s", name, "evaluate_seconds"),
            steps(
                f"{words}: transform of the arriving ciphertexts, counted within",
                "s",
                "programs",
                name,
                "transform_seconds",
            ),
        ]
        if signs and name == DECIDE:
            check = "decide: check that all inputs are bits, counted within"
            rows.append(steps(check, "s", "check_seconds"))
        if signs:
            rows.append(
                steps(
                    f"{words}: comparison with 0, counted within",
                    "s",
                    "programs",
                    name,
                    "compare_seconds",
                )
            )
    if REASONS in engines[LEVELLED]["recorded"]["external_products"]:
        rows.append(steps("reasons", "s", "programs", REASONS, "evaluate_seconds"))
        if signs:
            compared = "reasons: comparison with the edges of levels"
            rows.append(steps(compared, "s", "programs", REASONS, "compare_seconds"))
            path = ("recorded", "mask_bytes", REASONS)
            rows.append(row("masks of reasons, each party", "MB", *path, scale=1e6))
        path = ("recorded", "external_products", REASONS)
        rows.append(row("external products of reasons", "", *path))
    masks = [
        row("masks of a decision, each party", "MB", "recorded", "mask_bytes", DECIDE, scale=1e6),
        row(
            "masks of an explanation, each party",
            "MB",
            "recorded",
            "mask_bytes",
            EXPLAIN,
            scale=1e6,
        ),
    ]
    return [
        *rows,
        _row("opened to the readers", "", {c: _opened(own) for c, own in engines.items()}),
        row("external products of a decision", "", "recorded", "external_products", DECIDE),
        row("external products of an explanation", "", "recorded", "external_products", EXPLAIN),
        row("bootstraps of a decision", "", "recorded", "lookups", DECIDE),
        row("bits of the score", "", "recorded", "score_bits"),
        row("a decision fails with probability 2^", "", "recorded", "failure_log2", DECIDE),
        row("an explanation fails with probability 2^", "", "recorded", "failure_log2", EXPLAIN),
        row("flooding beyond the noise of a decision", "bit", "recorded", "room_bits", DECIDE),
        row("AUC", "", "auc"),
        row("AUC of the float model minus that", "", "auc_difference"),
        row("decisions equal to the float model's", "", "agreement"),
        _row(
            "key generation, all parties",
            "s",
            {
                column: _at(own, ("steps", "keys", "all_parties_seconds")) or own["key_seconds"]
                for column, own in engines.items()
            },
        ),
        steps("key generation, one party", "s", "keys", "one_party_seconds"),
        steps("key generation, its slowest step", "s", "keys", "slowest_step_seconds"),
        *(steps(f"encrypt, {party}", "s", "encrypt_seconds", party) for party in parties),
        *(
            steps(f"encrypt a party's masks, {words}", "s", "programs", name, "masks_seconds")
            for name, words in ((DECIDE, "decide"), (EXPLAIN, "explain"))
            if signs
        ),
        row("encrypt, all parties", "s", DECIDE, "encrypt_seconds"),
        row("open, all parties", "s", DECIDE, "open_seconds"),
        row("public key or evaluation key", "MB", "evaluation_key_bytes", scale=_MEGABYTE),
        *(
            _row(
                f"encrypted inputs, {party}",
                "MB",
                {column: own[party] / _MEGABYTE for column, own in uploads.items()},
            )
            for party in parties
        ),
        _row(
            "encrypted inputs, all parties",
            "MB",
            {column: sum(own.values()) / _MEGABYTE for column, own in uploads.items()},
        ),
        *(masks if signs else []),
        row("peak memory", "MB", "peak_bytes", scale=_MEGABYTE),
    ]


def _opened(engine: dict[str, Any]) -> str:
    """Return the value that an engine opens: `sign` or `score`."""
    recorded = engine["recorded"]
    alone = recorded.get("opens") == SIGN or recorded.get("sign_only")
    return SIGN if alone else SCORE


def _at(found: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _row(name: str, unit: str, values: dict[str, Any]) -> dict[str, Any]:
    other = values.get("concrete_ml")
    ratios = {
        key: other / own if unit == "s" and other and (own := values.get(column)) else None
        for key, column in (("ratio_deployed", LEVELLED), ("ratio", UNMODIFIED))
    }
    shown = {column: values.get(column) for column in COLUMNS}
    return {"name": name, "unit": unit, **shown, **ratios}


def levelled_table(rows: list[dict[str, Any]]) -> Table:
    """Return the rows of `levelled_rows` as a table."""
    return Table(
        _HEADS,
        [
            (
                labelled(row["name"], row["unit"]),
                *(figure(row[column]) for column in COLUMNS),
                figure(row.get("ratio_deployed")),
                figure(row["ratio"]),
            )
            for row in rows
        ],
    )


_DEFENCE_SECONDS = {
    "records_to_decision": "records to decision",
    "agreement_to_explanation": "agreement to explanation",
}


def application_table(own: dict[str, Any]) -> Table:
    """Return the seconds of a complete application by step, and the processes' memory."""
    words = {
        "opening_to_keys": "from opening to the joint key",
        "records_to_decision": "from the records to the opened decision",
        "opening_to_decision": "from opening to the decision",
        "agreement_to_explanation": "from agreement to the opened explanation",
        "run of decide_sign": "run of the decision's comparison",
        "run of explain_sign": "run of the explanation's comparison",
    }
    rows: list[tuple[str, ...]] = [
        (f"{words.get(k, k)}, s", figure(v)) for k, v in own["seconds"].items()
    ]
    rows += [
        (f"calls of all parties for the {part}", figure(count))
        for part, count in own["calls"].items()
    ]
    rows += [
        (f"processor of the {name} for one application, s", figure(v))
        for name, v in own["processor_seconds"].items()
    ]
    rows.append(("sent by all parties, MB", figure(sum(own["bytes"]["sent"].values()) / _MEGABYTE)))
    rows += [
        (f"peak memory, {name}, MB", figure(peak / _MEGABYTE))
        for name, peak in own["peak_bytes"].items()
    ]
    return Table(
        ("whole application over HTTP, with a witness, all on one machine", "median"), rows
    )


def defence_table(measured: list[dict[str, Any]]) -> Table:
    """Return the cost of opening signs only, with masks and checks, and of a witness."""
    head = ("opened", "witness", *(f"{key}, s" for key in _DEFENCE_SECONDS.values()))
    head = (*head, "server's processor, s", "witness's processor, s", "sent by all parties, MB")
    return Table(
        head,
        [
            (
                "signs" if own["opens"] == "sign" else "scores",
                "yes" if own["witness"] else "no",
                *(figure(own["seconds"][key]) for key in _DEFENCE_SECONDS),
                *(figure(own["processor_seconds"].get(name)) for name in ("server", "witness")),
                figure(own["sent_bytes"] / _MEGABYTE),
            )
            for own in measured
        ],
    )


def byte_table(own: dict[str, Any]) -> Table:
    """Return the bytes that each party sent and received at each step."""
    sent, received = own["bytes"]["sent"], own["bytes"]["received"]
    parties = list(sent)
    head = ("bytes", *(f"{p}, {way}" for p in parties for way in ("sent", "received")))

    def cells(step: dict[str, dict[str, int]]) -> list[str]:
        return [figure(step[w].get(p)) for p in parties for w in ("sent", "received")]

    rows = [(step["step"].replace("_", " "), *cells(step)) for step in own["bytes"]["steps"]]
    rows.append(("in all", *cells({"sent": sent, "received": received})))
    return Table(head, rows)


def scaling_table(models: list[dict[str, Any]]) -> Table:
    """Return times and products for one applicant, by trees and depth."""
    head = (
        "trees x depth",
        "bits",
        "products, decide",
        "products, explain",
        "decide, s",
        "explain, s",
        "margin, decide",
        "margin, explain",
    )
    keys = ("external_products", "seconds", "margin_sigmas")
    rows = []
    for model in models:
        if model["score_bits"] is None:
            rows.append((_shape(model), "refused by the noise guard", *["-"] * (len(head) - 2)))
            continue
        figures = (figure(model[program][key]) for key in keys for program in (DECIDE, EXPLAIN))
        rows.append((_shape(model), figure(model["score_bits"]), *figures))
    return Table(head, rows)


def batch_table(batches: list[dict[str, Any]]) -> Table:
    """Return the times of one model, by the number of applicants."""
    head = ("applicants", "decide, s", "explain, s", "decide, s each", "explain, s each")
    keys = ("seconds", "seconds_each")
    return Table(
        head,
        [
            (
                f"{batch['applicants']} ({_shape(batch)})",
                *(figure(batch[program][key]) for key in keys for program in (DECIDE, EXPLAIN)),
            )
            for batch in batches
        ],
    )


def _shape(entry: dict[str, Any]) -> str:
    return f"{entry['trees']} x {entry['depth']}"


def noise_lines(lines: list[dict[str, Any]]) -> Table:
    """Return standard deviations as log2, in units of the torus."""
    head = ("noise, log2 of its sigma", "measured", "model", "difference, bit", "guard", "samples")
    return Table(
        head,
        [
            (
                line["noise"],
                f"{line['measured_log2']:.2f}",
                f"{line['model_log2']:.2f}",
                f"{line['difference_bits']:+.2f}",
                "-" if line["bound_log2"] is None else f"{line['bound_log2']:.2f}",
                str(line["samples"]),
            )
            for line in lines
        ],
    )
