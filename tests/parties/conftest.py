from tests.parties.running import connection, live_server, oracle

__all__ = ["connection", "live_server", "oracle"]
