"""A relay in memory in place of the server, at which a member can be killed after a new post."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from contract.trainings import COORDINATOR
from parties.trainings_client import TrainingNews, TrainingReceived
from utils.errors import AlreadySent

TRAINING = "5" * 32


class Killed(BaseException):
    """The member's process has been killed; no code of it handles this."""


class Relay:
    """The calls of TrainingsClient for one training; tokens are the members' names."""

    def __init__(self) -> None:
        self.messages: list[TrainingReceived] = []
        self.kill_after_post: set[str] = set()
        self._posted: dict[tuple[str, int], bytes] = {}
        self._changed = threading.Condition()

    def host_training(self, _key, members, _hours):
        self.members = members
        codes = dict.fromkeys(members, "c" * 43)
        return SimpleNamespace(training_id=TRAINING, token=COORDINATOR, codes=codes)

    def join_training(self, _training_id, member, _code):
        return SimpleNamespace(token=member, members=self.members)

    def exchange(self, _training_id, token, posts, after, wait, **_least):
        with self._changed:
            fresh = [one for one in posts if (token, one.number) not in self._posted]
            for one in posts:
                if self._posted.setdefault((token, one.number), one.body) != one.body:
                    raise AlreadySent(f"{token} has sent another message {one.number}.")
            for one in fresh:
                number = len(self.messages) + 1
                received = TrainingReceived(number, token, one.to, one.number, one.body)
                self.messages.append(received)
            self._changed.notify_all()
            if fresh and token in self.kill_after_post:
                self.kill_after_post.discard(token)
                raise Killed
            self._changed.wait_for(lambda: self._for(token, after), min(wait, 1.0))
            found = self._for(token, after)
        return TrainingNews(found, found[-1].id if found else after, "open", False, False)

    def _for(self, token, after):
        return [
            one for one in self.messages[after:] if one.sender != token and one.to in (None, token)
        ]
