"""A party's decision file, checked with the keys that the party itself knows.

The server puts the file together, and it is not believed: the owners' keys and the witnesses are
those of the parties' hellos, which the parties authenticated among themselves. A cosigner counts if
its key is a witness's or a party's identity key. Only the log's own key comes from the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contract.governance import LogFacts
from governance.log.decision_file import DecisionFile, LogKey, Trust, verify
from parties.client import ServerClient
from parties.joint.messages import Hello


@dataclass(frozen=True)
class CheckedFile:
    """A decision file that was verified, and the trust file that it was verified with."""

    file: DecisionFile
    trust: Trust


def fetch_checked(
    client: ServerClient, client_id: str, token: str, program: str, hellos: Mapping[str, Hello]
) -> CheckedFile:
    """Fetch a program's decision file and verify it; `hellos` are those of all parties.

    Raises OutOfStep with advice as long as a part is missing, ReceiptInvalid, PermitInvalid,
    PermitExpired, ResultNotWitnessed or ProofInvalid for a file that does not hold, and the errors
    of the client.
    """
    found = client.decision_file(client_id, token, program)
    trust = trust_of(client.log_facts(), hellos)
    verify(found, trust)
    return CheckedFile(found, trust)


def trust_of(facts: LogFacts, hellos: Mapping[str, Hello]) -> Trust:
    """Return the keys that a party trusts for the decision files of its application."""
    named = {key: name for said in hellos.values() for key, name in said.witnesses.items()}
    witnesses = {name.replace(" ", "-"): key for key, name in named.items()}
    known = {*witnesses.values(), *(said.identity_key.hex() for said in hellos.values())}
    return Trust(
        log=LogKey(origin=facts.origin, key=facts.key),
        cosigners={name: key for name, key in facts.cosigners.items() if key in known},
        owners={name: said.signing_key.hex() for name, said in hellos.items()},
        witnesses=witnesses,
        least=1,
    )
