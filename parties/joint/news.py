"""What several members noted since it was last asked, each message once."""

from __future__ import annotations

from collections.abc import Mapping

from parties.joint.member import JointMember
from parties.results import Message


class News:
    """Begins where the members' events end now."""

    def __init__(self, members: Mapping[str, JointMember]) -> None:
        self._seen = {name: len(member.events) for name, member in members.items()}

    def take(self, members: Mapping[str, JointMember]) -> tuple[Message, ...]:
        """New messages; of one that sender and receivers noted, the sender's note.

        `members` are the same parties, perhaps taken up again since.
        """
        found: dict[tuple[str, str, str, str], Message] = {}
        for name, member in members.items():
            events = member.events
            for event in events[self._seen[name] :]:
                key = (event.sender, event.receiver, event.what, event.sha256)
                if key not in found or event.sender == name:
                    found[key] = event
            self._seen[name] = len(events)
        return tuple(found.values())
