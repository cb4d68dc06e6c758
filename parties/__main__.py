"""Entry point of `python -m parties`, one party's agent: its command line and its page.

`python -m parties identity` makes or prints an institution's identity key instead, `decision-file`
fetches what shows a decision offline, and `owner` and `institution` run the agents of data owners
and of those who ask them (parties/governance).

As an entry point it may import the pages, which no other module of this folder does.
"""

from __future__ import annotations

from utils.command_line import run_command

import sys
from collections.abc import Sequence

from parties import (
    decision_file_command,
    identity_command,
    institution_command,
    owner_command,
)
from parties.command import parse, run
from ui.agent.serving import open_pages
from ui.entry import run_entry
from ui.institution.serving import open_institution_page
from ui.owner.serving import open_owner_page


def main(words: Sequence[str]) -> int:
    """Run the agent until it is stopped or its work is done; return the exit code."""
    if list(words[:1]) == [identity_command.WORD]:
        wanted = identity_command.parse(words[1:])
        return run_entry(lambda settings: identity_command.run(wanted, settings))
    if list(words[:1]) == [decision_file_command.WORD]:
        file = decision_file_command.parse(words[1:])
        return run_entry(lambda settings: decision_file_command.run(file, settings))
    if list(words[:1]) == [owner_command.WORD]:
        owner = owner_command.parse(words[1:])
        return run_entry(lambda settings: owner_command.run(owner, settings, open_owner_page))
    if list(words[:1]) == [institution_command.WORD]:
        institution = institution_command.parse(words[1:])
        return run_entry(
            lambda settings: institution_command.run(institution, settings, open_institution_page)
        )
    arguments = parse(words)
    return run_entry(lambda settings: run(arguments, settings, open_pages))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
