"""Names of lenders and times: refused before anything is hosted, joined or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from federated.__main__ import main
from federated.agents.names import require_lenders, require_name
from parties.joint.codes import JoinCode
from utils.errors import InvalidRequest


@pytest.mark.parametrize("name", ["Bank-A", "../x", "coordinator", "", "a" * 33, "1st", "a\n"])
def test_names_that_the_protocol_has_no_room_for_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be a lender's name: choose"):
        require_name(name)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["a", "b"], "3 to 64 lenders"),
        (["a", "b", "c", "a"], "^a: named twice"),
        (["a", "b", "c d"], "'c d' cannot be"),
        ([f"a{i}" for i in range(65)], "3 to 64 lenders"),
    ],
)
def test_lists_of_lenders_without_a_training_are_refused(names: list[str], problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        require_lenders(names)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "soon"])
def test_times_that_would_never_end_or_never_begin_are_refused(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--step-seconds", "--start-seconds", "--hours"):
        with pytest.raises(SystemExit):
            main(["coordinator", "--lenders", "a,b,c", f"{option}={text}"])
        assert f"{option}: give a number above 0" in capsys.readouterr().err


def test_a_lender_of_another_name_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRISEAL_PARTY_DATA", str(tmp_path / "parties"))
    code = tmp_path / "code"
    code.write_text(str(JoinCode("0" * 32, "x" * 43, bytes(32))))
    words = ["lender", "--name", "../x", "--data", "rows.csv", "--code-file", str(code)]
    assert main(words) == 1
    assert "'../x' cannot be a lender's name" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["code"]
