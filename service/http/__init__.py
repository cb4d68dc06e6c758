"""The HTTP layer below the routes: connections, limits, hosts, headers, problems, request logs."""
