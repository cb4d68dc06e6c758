"""Errors become problems: every class has a status, and survives transport from a worker."""

from __future__ import annotations

import json
import pickle

import pytest

from utils import errors
from web.problems import problem, status_of, title_of

CLASSES = errors.error_classes()


@pytest.mark.parametrize("code", CLASSES)
def test_every_class_becomes_a_problem(code: str) -> None:
    error = CLASSES[code]("What is wrong.")
    answer = problem(error)
    body = json.loads(bytes(answer.body))
    assert body["type"] == f"urn:triseal:error:{code}"
    assert body["detail"] == "What is wrong."
    assert answer.status_code == body["status"] == status_of(type(error))
    assert answer.media_type == "application/problem+json"


def test_no_application_error_has_status_500() -> None:
    own = [c for c in CLASSES.values() if issubclass(c, errors.ApplicationError)]
    assert len(own) > 10
    assert [
        c.__name__ for c in own if c is not errors.ApplicationError and status_of(c) == 500
    ] == []


@pytest.mark.parametrize("code", CLASSES)
def test_errors_keep_their_class_across_processes(code: str) -> None:
    sent = CLASSES[code]("What is wrong.")
    came = pickle.loads(pickle.dumps(sent))  # noqa: S301
    assert (type(came), came.message) == (type(sent), "What is wrong.")


def test_titles_are_words() -> None:
    assert title_of(errors.OutOfStep) == "Out of step"
    assert title_of(errors.UploadTooLarge) == "Upload too large"


def test_busy_errors_have_a_retry_after() -> None:
    for code, cls in CLASSES.items():
        answer = problem(cls("Wait."))
        if issubclass(cls, errors.ServerBusy):
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1"), code
        elif answer.status_code in (503, 507):
            expected = "1" if answer.status_code == 503 else "30"
            assert answer.headers["retry-after"] == expected, code
        else:
            assert "retry-after" not in answer.headers, code
    for seconds, said in ((0.0, "1"), (0.2, "1"), (1.2, "2"), (60.0, "60")):
        answer = problem(errors.QueueFull("Wait.", seconds))
        assert answer.headers["retry-after"] == said
