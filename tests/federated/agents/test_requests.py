"""Requests that are refused: strangers, bad bodies, data that cannot be used, unknown ids."""

from __future__ import annotations

import json
import os
from contextlib import closing
from http.client import HTTPConnection

import httpx
import pytest

from federated.agents.api.data_sets import LARGEST_DATA, MOST_DATA_SETS
from tests.federated.agents.lenders import csv_of
from web.body_limits import SMALL_BODY

CSV = {"Content-Type": "text/csv"}
JOIN = {"addr": "loans", "code": f"{'0' * 32}.{'a' * 43}.{'b' * 22}"}
START = {"addr": "loans", "lenders": ["lender_1", "lender_3", "lender_4"]}


def refused(agent, body, status, *words, path="/fl_train"):
    answer = agent.call("POST", path, status, json=body)
    assert all(word in answer["detail"] for word in words), answer
    return answer["type"]


def announced(agent, method, path, size):
    """Return the status for a body of this size, of which nothing is sent."""
    with closing(HTTPConnection("127.0.0.1", agent.wanted.api_port, timeout=30)) as connection:
        connection.putrequest(method, path)
        connection.putheader("Authorization", agent.http.headers["Authorization"])
        connection.putheader("Content-Type", "text/csv")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        return connection.getresponse().status


def test_every_call_needs_the_token_and_the_right_host(trained):
    for header in ({}, {"Authorization": "Bearer wrong"}):
        with httpx.Client(base_url=trained[2].http.base_url, headers=header) as stranger:
            for method, path in (
                ("GET", "/fl_train"),
                ("POST", "/fl_train"),
                ("POST", "/fl_predict"),
                ("PUT", "/fl_data/a"),
                ("GET", f"/fl_train/{trained.run_id}/model"),
            ):
                assert stranger.request(method, path).status_code == 401, path
    trained[2].call("GET", "/fl_train", 421, headers={"Host": "evil.example"})
    trained[2].call("GET", "/fl_train", 403, headers={"Origin": "https://evil.example"})


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "either code"),
        ({**JOIN, **START}, "either code"),
        ({**JOIN, "trees": 5}, "trees"),
        ({"addr": "loans", "code": "no code"}, "not a join code"),
        ({"addr": "loans", "code": "a" * 301}, "code"),
        ({**START, "unknown": 1}, "unknown"),
        ({**START, "trees": 0}, "trees"),
        ({**START, "trees": 301}, "trees"),
        ({**START, "learning_rate": "NaN"}, "learning_rate"),
        ({**START, "early_stopping": 3, "validation_share": 0}, "early_stopping"),
        ({**START, "hours": 1e9}, "hours"),
        ({**START, "lenders": []}, "lenders"),
        ({**START, "lenders": ["a/b", "c", "d"]}, "lenders"),
        ({**START, "lenders": ["lender_2", "x"]}, "at least 4 lenders"),
        ({"lenders": START["lenders"]}, "no --data file"),
        (["a"], "body"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(trained, body, word):
    refused(trained[2], body, 422, word)


def test_a_plan_outside_the_own_limits_is_not_started(trained):
    kind = refused(trained[2], {**START, "least_rows": 2}, 409, "at least 10")
    assert kind.endswith("plan-refused")


def test_a_code_of_no_training_leaves_nothing_behind(trained):
    refused(trained[2], JOIN, 422)
    assert not (trained[2].wanted.home / "trainings" / ("0" * 32)).exists()


def test_data_outside_the_data_folder_is_not_read(trained):
    """The control shows that the same bytes are read inside the folder."""
    agent = trained[1]
    folder = agent.wanted.data_folder
    outside = folder.parent / "outside.csv"
    outside.write_bytes(csv_of(9))
    (folder / "link.csv").symlink_to(outside)
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    for address in (
        *("../outside.csv", str(outside), "link.csv", "a/../../outside.csv", "loop/x", "/", "."),
        *("loans.csv\0", "\ud800"),
    ):
        body = json.dumps({**JOIN, "addr": address})
        answer = agent.call(
            "POST", "/fl_train", 422, content=body, headers={"Content-Type": "application/json"}
        )
        assert "addr" in answer["detail"], (address, answer)
    for address in ("pipe", "missing.csv", "lender_1", "x" * 900):
        refused(agent, {**JOIN, "addr": address}, 422)
    (folder / "inside.csv").write_bytes(outside.read_bytes())
    refused(agent, {**JOIN, "addr": "inside.csv"}, 422, "There is no training of this id")


def test_a_data_set_that_cannot_be_used_is_not_stored(trained):
    agent, good = trained[3], csv_of(3)
    before = agent.call("GET", "/fl_data")["items"]
    for content, word in (
        (b"", "empty"),
        (b"a,b\n1,2\n", "age"),
        (good.replace(b"\n", b",1\n", 2), "line"),
        (good + b"17,,skilled,own,1,others,9,1\n", "age"),
        (b"\xff\xfe\x00", "UTF-16"),
    ):
        answer = agent.call("PUT", "/fl_data/bad", 422, content=content, headers=CSV)
        assert word in answer["detail"] and "17," not in answer["detail"]
    agent.call("PUT", "/fl_data/bad", 415, content=good)
    agent.call("PUT", "/fl_data/own", 422, content=good, headers=CSV)
    for name in ("..", "A", "a.csv", "a" * 65, "%2e%2e%2fx"):
        assert agent.http.put(f"/fl_data/{name}", content=good, headers=CSV).status_code in (
            *(404, 405, 422),
        )
    assert announced(agent, "PUT", "/fl_data/big", LARGEST_DATA + 1) == 413
    assert announced(agent, "POST", "/fl_train", SMALL_BODY + 1) == 413
    agent.call("PUT", "/fl_data/bad", 422, content=b"a" * (SMALL_BODY + 1), headers=CSV)
    assert agent.call("GET", "/fl_data")["items"] == before


def test_data_sets_are_limited_listed_and_removed(trained):
    agent = trained[2]
    small = csv_of(2, rows=2)
    for number in range(MOST_DATA_SETS - 1):
        agent.call("PUT", f"/fl_data/set_{number}", content=small, headers=CSV)
    agent.call("PUT", "/fl_data/one_more", 403, content=small, headers=CSV)
    agent.call("PUT", "/fl_data/set_1", content=small, headers=CSV)
    assert len(agent.call("GET", "/fl_data")["items"]) == MOST_DATA_SETS
    for number in range(MOST_DATA_SETS - 1):
        agent.call("DELETE", f"/fl_data/set_{number}", 204)
    agent.call("DELETE", "/fl_data/set_1", 404)
    assert [one["name"] for one in agent.call("GET", "/fl_data")["items"]] == ["loans"]


def test_an_unknown_training_is_said_to_be_unknown(trained):
    for path in ("", "/events", "/model", "/record"):
        answer = trained[2].call("GET", f"/fl_train/{'0' * 32}{path}", 404)
        assert answer["type"].endswith("unknown-training")
    trained[2].call("DELETE", f"/fl_train/{'0' * 32}", 404)
    trained[2].call("GET", "/fl_train/nonsense", 422)
