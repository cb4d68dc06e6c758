from tests.parties.running import (
    connection,
    levelled_oracle,
    levelled_server,
    live_server,
    oracle,
)

__all__ = ["connection", "levelled_oracle", "levelled_server", "live_server", "oracle"]
