"""HTTP below the routes: connections, limits, hosts, headers, problems, logs."""
