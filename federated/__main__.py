"""`python -m federated`: one model that several lenders train together.

    python -m federated coordinator --lenders lender_1,lender_2,lender_3 --schema FILE
    python -m federated lender --name lender_1 --data rows.csv --schema FILE --code-file FILE

The coordinator hosts a training on the server and writes a code for each lender; every lender takes
part with its code and its own rows. Started again with the same folder, both go on where they were.
Each command has `--help`. docs/FEDERATED.md describes the protocol and its limits.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import sys
from collections.abc import Sequence

from federated.agents import coordinator_command, lender_command

# An entry point may import a page; no other module of this folder does.
from ui.federated.serving import open_training_page
from utils.errors import TrisealError
from utils.one_line import in_one_line
from utils.terminal import print_any_text

COMMANDS = {"coordinator": coordinator_command.main, "lender": lender_command.main}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        try:
            return COMMANDS[words[0]](words[1:], open_training_page)
        except (TrisealError, OSError) as error:
            print(f"federated {words[0]}: {in_one_line(error)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("Stopped; started again with the same folder, it goes on.", file=sys.stderr)
            return 130
    parser = CommandParser(prog="python -m federated", description=__doc__)
    parser.add_argument("command", choices=COMMANDS, help="the part to play")
    parser.parse_args(words)  # shows the help, or what is wrong
    return 2


if __name__ == "__main__":
    run_command(main)
