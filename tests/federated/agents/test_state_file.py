"""The file of a training: a damaged part is refused, without showing what is in it."""

from __future__ import annotations

import traceback
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import BaseModel

from federated.agents.state_file import StateFile
from utils.errors import DataFolderInUse, StoreDamaged


class Secret(BaseModel):
    key: int


def test_a_damaged_part_is_refused_without_its_content(tmp_path: Path) -> None:
    with closing(StateFile.open(tmp_path / "x.sqlite")) as file:
        file.save({"good": b'{"key": 7}', "bad": b'{"key": "moon"}'})
        assert file.model("good", Secret) == Secret(key=7)
        assert file.model("absent", Secret) is None
        with pytest.raises(StoreDamaged, match="start or join a new one") as caught:
            file.model("bad", Secret)
    assert "moon" not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(b"moon" * 2000)
    with pytest.raises(StoreDamaged):
        StateFile.open(path)
    path.unlink()
    with closing(StateFile.open(path)), pytest.raises(DataFolderInUse):
        StateFile.open(path)
