"""Concrete in worker processes: forgetting keys, and evaluating in threads."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest

from engines.concrete.keys import EvaluationKeys
from engines.concrete.messages import header
from engines.concrete.signals import restore_broken_pipes
from engines.envelope import digest_of
from engines.interface import DECIDE, EVALUATION_KEY
from model.reference import reference_scores


def test_forgotten_keys_leave_memory_and_are_read_again(runs, credit_data):
    row = credit_data[1][0][0]
    sent = runs.messages(row)
    key = sent[runs.holder, EVALUATION_KEY]
    expected = reference_scores(runs.programs[DECIDE], row)
    assert runs.opened(DECIDE, sent) == expected
    keys = runs.server._keys.accepted(key)
    holders = sys.getrefcount(keys)
    runs.server.forget([bytes(32)])
    assert sys.getrefcount(keys) == holders, "another message's digest"
    runs.server.forget([digest_of(message) for message in sent.values()])
    assert sys.getrefcount(keys) == holders - 1
    del keys
    assert runs.opened(DECIDE, sent) == expected


@pytest.mark.parametrize("with_structure", [True, False])
def test_check_does_not_cache_keys(runs, with_structure):
    keys = EvaluationKeys(
        header(runs.server.public.model_version, EVALUATION_KEY, runs.holder),
        runs.server._keys._structure if with_structure else None,
    )
    keys.check(runs.keys.evaluation)
    assert not keys._kept
    keys.accepted(runs.keys.evaluation)
    assert len(keys._kept) == 1


def test_broken_pipe_raises_exception_in_thread():
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        assert not _ignored(signal.SIGPIPE)
        thread = threading.Thread(target=restore_broken_pipes)
        thread.start()
        thread.join()
        assert _ignored(signal.SIGPIPE)
    finally:
        signal.signal(signal.SIGPIPE, before or signal.SIG_IGN)


def _ignored(number: signal.Signals) -> bool:
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("SigIgn:")
    )
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
