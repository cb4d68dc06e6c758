from tests.parties.joint.running import group, local_server
from tests.parties.running import (
    connection,
    levelled_oracle,
    levelled_server,
    live_server,
    oracle,
)

__all__ = [
    "connection",
    "group",
    "levelled_oracle",
    "levelled_server",
    "live_server",
    "local_server",
    "oracle",
]
