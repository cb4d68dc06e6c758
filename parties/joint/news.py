"""The messages that several members have recorded since the last call, without duplicates."""

from __future__ import annotations

from collections.abc import Mapping

from parties.joint.member import JointMember
from parties.results import Message

_Key = tuple[str, str, str, str]


class News:
    """Reads the members' events, beginning after those already recorded."""

    def __init__(self, members: Mapping[str, JointMember]) -> None:
        self._seen = {name: len(member.events) for name, member in members.items()}
        self._listed = {
            _key(event) for member in members.values() for event in member.events if event.relayed
        }

    def take(self, members: Mapping[str, JointMember]) -> tuple[Message, ...]:
        """Return the new messages; the sender's entry if sender and receivers recorded one.

        `members` are the same parties; their objects may have been recreated since.
        """
        found: dict[_Key, Message] = {}
        for name, member in members.items():
            events = member.events
            for event in events[self._seen[name] :]:
                key = _key(event)
                if key in self._listed:  # a receiver's note, in a later step than the sender's
                    continue
                if key not in found or event.sender == name:
                    found[key] = event
            self._seen[name] = len(events)
        self._listed |= {key for key, event in found.items() if event.relayed}
        return tuple(found.values())


def _key(event: Message) -> _Key:
    return event.sender, event.receiver, event.what, event.sha256
