"""The audit of a stored log finds every change behind the log's back."""

import pytest

from governance.log.audit import audit
from governance.log.checkpoint import Checkpoint
from governance.log.entries import Entry
from governance.log.merkle import MemoryNodes, Position, append, leaf_hash
from trials.logged_uses import START, a_log
from utils.errors import LogInconsistent


def checkpoints(log):
    return [Checkpoint.parse(note.body) for note in log.notes]


def test_whole_log_with_all_its_checkpoints_passes():
    log = a_log(3)
    log.add(Entry.made("erasure", START))  # after the last checkpoint
    assert audit(iter(log.entries), log.store, checkpoints(log)) == len(log.entries)
    assert audit([], MemoryNodes(), []) == 0


@pytest.mark.parametrize("batch", [1, 7, 512])
def test_size_of_a_batch_does_not_matter(monkeypatch, batch):
    monkeypatch.setattr("governance.log.audit.BATCH", batch)
    log = a_log(4)
    assert audit(log.entries, log.store, checkpoints(log)) == len(log.entries)
    del log.store.nodes[Position(1, 2)]
    with pytest.raises(LogInconsistent, match=r"from entry 4 on.*1/2"):
        audit(log.entries, log.store, checkpoints(log))


def test_first_changed_entry_is_named():
    log = a_log(5)
    log.entries[17] = Entry.made("request", START).to_bytes()
    with pytest.raises(LogInconsistent, match="from entry 17 on"):
        audit(log.entries, log.store, checkpoints(log))
    log.entries[9] = b"{}"
    with pytest.raises(LogInconsistent, match="Entry 9 of the log"):
        audit(log.entries, log.store, checkpoints(log))


def test_rewritten_log_differs_from_its_checkpoint():
    """Whoever can change the entries can compute the hashes again."""
    log = a_log(6)
    log.entries[17] = Entry.made("request", START).to_bytes()
    rewritten = MemoryNodes()
    append(rewritten, 0, [leaf_hash(entry) for entry in log.entries])
    with pytest.raises(LogInconsistent, match="rewritten"):
        audit(log.entries, rewritten, checkpoints(log))
    # Control: without the checkpoints from elsewhere, it passes.
    assert audit(log.entries, rewritten, []) == len(log.entries)


def test_cut_log_is_shorter_than_its_checkpoint():
    log = a_log(7)
    with pytest.raises(LogInconsistent, match="were removed"):
        audit(log.entries[:-1], log.store, checkpoints(log))
