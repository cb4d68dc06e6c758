"""A small `make load`: a real server, real encryption, every result compared."""

import json
import platform

import httpx
import pytest

from engines.interface import DECIDE, EXPLAIN, PROGRAMS, SIGN_OF
from trials.load import phase as load_phase
from trials.load import report
from trials.load.__main__ import main
from trials.load.timing import LONG_POLL, RUN, SESSION_POLL, UPLOAD, WAITING_EXCHANGE, kind_of
from trials.load.work import Work, WrongAnswer

ID = "0123456789abcdef" * 2
APPLICATIONS, AT_ONCE = 2, 2
AS_OTHERS = ("--nice", "0")
"""Options for generators that do not wait for the processors that other tests use."""


@pytest.fixture(scope="module")
def phase(signs_deployment, tmp_path_factory):
    """Return the figures of a small load with the parties' own code."""
    path = tmp_path_factory.mktemp("load") / "load.json"
    options = f"--applications {APPLICATIONS} --at-once {AT_ONCE} --warm-up 1 --saturated 0".split()
    options += ["--explain", "0.5", *AS_OTHERS]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(load_phase, "SETTLE_SECONDS", 0.2)
        code = main([*options, "--deployment", str(signs_deployment), "--json", str(path)])
    document = json.loads(path.read_text())
    assert code == 0, document["phases"][0]["applications"]
    assert document["machine"]["python"] == platform.python_version()
    assert len(document["targets"]) == 3
    return document["phases"][0]


def test_every_application_gets_its_exact_result(phase):
    made = phase["applications"]
    assert (made["right"], made["wrong"], made["lost"]) == (APPLICATIONS, 0, 0)
    assert made["begun"] == APPLICATIONS
    assert made["first_errors"] == []
    # Applications of the probe: each runs the decision and its comparison.
    others = phase["outside"]["calls"][RUN]["count"] / 2
    assert phase["evaluations"]["count"][DECIDE] == APPLICATIONS + others
    explained = phase["evaluations"]["count"][EXPLAIN]
    assert 0 < explained < APPLICATIONS
    assert phase["evaluations"]["count"][SIGN_OF[DECIDE]] == APPLICATIONS + others
    assert phase["evaluations"]["count"][SIGN_OF[EXPLAIN]] == explained


def test_every_kind_of_call_is_timed(phase):
    calls, outside = phase["calls"], phase["outside"]["calls"]
    assert calls["open"]["count"] == APPLICATIONS
    assert calls["join"]["count"] == 3 * APPLICATIONS
    uploads = {kind: own["count"] for kind, own in calls.items() if kind.startswith(UPLOAD)}
    # The public key, three records and the challenge; masks and masked scores for each program.
    explained = phase["evaluations"]["count"][EXPLAIN]
    assert sum(uploads.values()) == 9 * APPLICATIONS + 4 * explained
    assert uploads["send_file, 8 MB"] == APPLICATIONS
    assert {"exchange", WAITING_EXCHANGE} <= set(calls)
    assert phase["calls_each"] == sum(own["count"] for own in calls.values()) / APPLICATIONS
    assert {"health", "state", "open", "join", "get_output", "send_file, 8 MB"} <= set(outside)
    assert phase["outside"]["failed"] == {}
    for kind in (*calls.values(), *outside.values()):
        times = kind["milliseconds"]
        assert 0 < times["p50"] <= times["p95"] <= times["p99"] <= times["max"]


def test_memory_and_cores_are_sampled(phase):
    (memory,) = phase["memory"].values()
    assert 20 < memory["start"] <= memory["peak"]
    assert memory["workers_peak"] > 20
    assert memory["growth"] == memory["end"] - memory["start"]
    (cpu,) = phase["cores"]["cpu_seconds"].values()
    assert cpu["server"] > 0
    assert cpu["workers"] > 0


def test_tables_show_missed_targets(phase):
    good = report.targets([phase])
    assert good[0].met
    spoilt = {
        **phase,
        "applications": {**phase["applications"], "wrong": 1},
        "memory": {name: {**memory, "growth": 51.0} for name, memory in phase["memory"].items()},
    }
    right, _, memory = report.targets([spoilt])
    assert not right.met
    assert not memory.met
    text = report.text([spoilt], {"cores": "2"})
    assert "51.0 MB" in text
    assert "1 wrong" in text


def test_prepared_applications_are_sent_with_correct_results(clear_deployment, tmp_path):
    path = tmp_path / "load.json"
    options = [
        "--applications",
        "3",
        "--at-once",
        "2",
        "--warm-up",
        "0",
        "--prepared",
        "2",
        "--generators",
        "1",
    ]
    options += [
        "--explain",
        "1",
        *AS_OTHERS,
        "--engine",
        "clear",
        "--deployment",
        str(clear_deployment),
    ]
    assert main([*options, "--json", str(path)]) == 0
    (phase,) = json.loads(path.read_text())["phases"]
    assert phase["applications"]["right"] == 3
    others = phase["outside"]["calls"][RUN]["count"]
    none = dict.fromkeys((*PROGRAMS, *SIGN_OF.values()), 0)
    counts = none | {DECIDE: 3 + others, EXPLAIN: 3}
    assert phase["evaluations"]["count"] == counts


def test_score_off_by_one_is_reported_as_wrong(levelled_deployment):
    work = Work.drawn(levelled_deployment, "levelled", 3, 0.5, seed=4)
    again = Work.drawn(levelled_deployment, "levelled", 3, 0.5, seed=4)
    application = work.applications[1]
    assert application.records == again.applications[1].records
    program = work.programs[DECIDE]
    (score,) = (float(s) for s in program.scores(application.bits[None, :])[0])
    work.require(application, DECIDE, (score,))
    for wrong in ((score + 1,), (), (score, score)):
        with pytest.raises(WrongAnswer, match="but expected"):
            work.require(application, DECIDE, wrong)


def test_opposite_sign_is_reported_as_wrong(signs_deployment):
    work = Work.drawn(signs_deployment, "levelled", 3, 0.5, seed=4)
    application = work.applications[1]
    scores = work.programs[EXPLAIN].scores(application.bits[None, :])[0]
    right = tuple(0.0 if score >= 0 else -1.0 for score in scores)
    work.require(application, EXPLAIN, right)
    for wrong in ((-1.0 - right[0], *right[1:]), right[1:], tuple(map(float, scores))):
        with pytest.raises(WrongAnswer, match="but expected"):
            work.require(application, EXPLAIN, wrong)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", f"/applications/{ID}", "state"),
        ("GET", f"/applications/{ID}/messages?wait=0.0", "messages, get"),
        ("GET", f"/applications/{ID}/messages?wait=5", LONG_POLL),
        ("POST", f"/applications/{ID}/runs/decide", "run, ask"),
        ("POST", f"/applications/{ID}/runs/explain_sign", "run, ask"),
        ("POST", "/run_fhe", RUN),
        ("PUT", f"/applications/{ID}/x", "PUT /applications/{id}/x"),
        ("POST", f"/sessions/{ID}/uses", "session uses"),
        ("GET", f"/sessions/{ID}/messages?after=1&wait=20.0", SESSION_POLL),
        ("GET", f"/sessions/{ID}/messages?after=1&wait=0.0", "session messages, get"),
        ("PUT", "/consents/user_1/bank_1", "consents"),
    ],
)
def test_call_kinds_contain_no_application_id(method, path, kind):
    assert kind_of(httpx.Request(method, f"http://server{path}")) == kind


def test_exchanges_that_wait_are_a_kind_of_their_own():
    url = f"http://server/applications/{ID}/exchange"
    assert kind_of(httpx.Request("POST", url, json={"wait": 0.0})) == "exchange"
    assert kind_of(httpx.Request("POST", url, json={"wait": 20.0})) == WAITING_EXCHANGE


def test_permits_for_named_fields_are_a_kind_of_their_own():
    url, body = "http://server/authorize", {"partner_id": "a", "user_id": "b", "purpose": "c"}
    named = httpx.Request("POST", url, json={**body, "requested_data": ["name"]})
    assert kind_of(named) == "authorize, named fields"
    assert kind_of(httpx.Request("POST", url, json=body)) == "authorize"
