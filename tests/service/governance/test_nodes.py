"""The hashes of the log's tree are read in bounded queries, and never replaced."""

from __future__ import annotations

import hashlib

import pytest

from governance.log.merkle import Position
from service.governance.log import Nodes
from service.storage.storage import Storage
from utils.errors import LogInconsistent


def hash_of(place: Position) -> bytes:
    return hashlib.sha256(f"{place.level}/{place.number}".encode()).digest()


def test_any_number_of_hashes_is_read_and_each_is_written_once(storage: Storage) -> None:
    places = [Position(level, number) for level in range(7) for number in range(11)]
    stored = {place: hash_of(place) for place in places}
    with storage.write() as session:
        Nodes(session).put(stored)
    missing = Position(7, 0)
    for count in (0, 1, 2, 31, 32, 33, 64, 77):
        with storage.read() as session:
            wanted = [*places[:count], missing, *places[:2]]
            found = Nodes(session).get(wanted)
        assert found == {place: stored[place] for place in [*places[:count], *places[:2]]}
    with pytest.raises(LogInconsistent), storage.write() as session:
        Nodes(session).put({places[5]: bytes(32)})
    with storage.read() as session:
        assert Nodes(session).get(places) == stored
