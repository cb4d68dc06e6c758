"""Trainings over HTTP: start, join, restarts in the middle, events, and the finished model."""

from __future__ import annotations

import json
import stat

from federated.protocol.record import Record


def test_a_training_goes_on_after_an_agent_is_closed_and_another_is_killed(trained):
    """Both were in the middle of it; the model is the same at all lenders."""
    assert trained.begun["state"] == "starting"
    assert {one["state"] for one in trained.interrupted.values()} == {"running"}
    agents = (*trained.agents.values(), trained.process)
    models = {agent.http.get(f"/fl_train/{trained.run_id}/model").content for agent in agents}
    records = [agent.call("GET", f"/fl_train/{trained.run_id}/record") for agent in agents]
    assert len(models) == 1 and len(json.loads(models.pop())["learner"]["gradient_booster"]) == 2
    assert all(record == records[0] for record in records)
    record = Record.model_validate(records[0])
    assert [len(tree.lenders) for tree in record.trees] == [4, 4, 4]


def test_the_state_of_a_training_says_how_far_it_is(trained):
    own = trained[1].call("GET", f"/fl_train/{trained.run_id}")
    assert (own["role"], own["state"], own["kept"], own["codes"]) == (
        "coordinator",
        "finished",
        3,
        {},
    )
    assert [one["name"] for one in own["lenders"]] == [*trained.agents, "lender_4"]
    assert all(one["trees"] == 3 and one["bytes"] > 0 for one in own["lenders"])
    assert 0.5 < own["auc"] <= 1 and own["bytes"] > 10_000 and own["seconds_left"] is None
    other = trained[3].call("GET", f"/fl_train/{trained.run_id}")
    assert (other["role"], other["addr"], other["auc"]) == ("lender", "loans", own["auc"])
    lines = trained[3].call("GET", "/fl_train")["items"]
    assert trained.run_id in [line["run_id"] for line in lines if line["trees"] == 3]


def test_events_are_streamed_until_the_end_and_kept(trained):
    states = [facts["state"] for name, facts in trained.news if name == "state"]
    texts = [event["text"] for name, event in trained.news if name == "event"]
    numbers = [event["number"] for name, event in trained.news if name == "event"]
    assert states[0] == "running" and states[-1] == "finished"
    assert numbers == list(range(1, len(numbers) + 1))
    assert any("The training starts with lender_1, lender_2" in text for text in texts)
    kept = trained[1].call("GET", f"/fl_train/{trained.run_id}/events")["items"]
    assert [event["text"] for event in kept] == texts


def test_files_of_an_agent_are_for_its_user_alone_and_no_code_is_kept_by_a_lender(trained):
    home = trained[2].wanted.home
    code = trained.begun["codes"]["lender_2"].encode()
    for path in home.rglob("*"):
        open_to_others = stat.S_IMODE(path.stat().st_mode) & 0o077
        assert not open_to_others or path.name == ".triseal-folder", path
        if path.is_file():
            assert code not in path.read_bytes(), path


def test_a_training_without_its_data_goes_on_once_they_are_back(trained):
    """A lender that coordinates as well goes on as coordinator, and says what it lacks."""
    host, member = trained[1], trained[3]
    body = {"addr": "loans.csv", "lenders": ["lender_2", "lender_3", "x"]}
    begun = host.call("POST", "/fl_train", 202, json=body)
    run_id = begun["run_id"]
    body = {"addr": "loans", "code": begun["codes"]["lender_3"]}
    member.call("POST", "/fl_train", 202, json=body)
    files = {
        host: host.wanted.data_folder / "loans.csv",
        member: member.wanted.home / "data" / "loans.csv",
    }
    contents = {agent: path.read_bytes() for agent, path in files.items()}
    for agent, path in files.items():
        agent.close()
        path.unlink()
        agent.start()
    assert "cannot be read" in member.until(run_id, {"failed"})["reason"]
    assert "cannot be read" in host.until(run_id, {"starting"}, "cannot be read")["reason"]
    for agent, path in files.items():
        agent.close()
        path.write_bytes(contents[agent])
        agent.start()
        assert agent.call("GET", f"/fl_train/{run_id}")["state"] == "starting"
    member.call("DELETE", f"/fl_train/{run_id}", 202)
    member.until(run_id, {"cancelled"})
    host.call("DELETE", f"/fl_train/{run_id}", 202)
    host.until(run_id, {"cancelled"})


def test_a_training_started_here_is_cancelled_for_all_and_left_by_one(trained):
    body = {"addr": "loans.csv", "lenders": ["lender_2", "lender_3", "x"], "step_seconds": 2}
    begun = trained[1].call("POST", "/fl_train", 202, json=body)
    run_id = begun["run_id"]
    assert set(trained[1].call("GET", f"/fl_train/{run_id}")["codes"]) == {
        *("lender_2", "lender_3", "x")
    }
    for number in (2, 3):
        body = {"addr": "loans", "code": begun["codes"][f"lender_{number}"]}
        trained[number].call("POST", "/fl_train", 202, json=body)
        trained[number].call("POST", "/fl_train", 409, json=body)  # it has joined already
    trained[2].call(
        "PUT", "/fl_data/loans", 409, content=b"a", headers={"Content-Type": "text/csv"}
    )
    trained[2].call("DELETE", "/fl_data/loans", 409)
    trained[2].call("DELETE", f"/fl_train/{run_id}", 202)
    assert "own program" in trained[2].until(run_id, {"cancelled"})["reason"]
    trained[1].call("DELETE", f"/fl_train/{run_id}", 202)
    trained[1].until(run_id, {"cancelled"})
    assert "closed" in trained[3].until(run_id, {"failed"})["reason"]
    trained[1].call("GET", f"/fl_train/{run_id}/model", 409)
    assert trained[1].call("DELETE", f"/fl_train/{run_id}", 202)["state"] == "cancelled"
    assert trained[1].call("DELETE", f"/fl_train/{trained.run_id}", 202)["state"] == "finished"
