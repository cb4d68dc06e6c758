"""Flower sends no statistics from the tests, and writes its own files to a temporary folder."""

import importlib.util
import os
import tempfile

if importlib.util.find_spec("flwr") is None:  # another environment
    collect_ignore_glob = ["test_*.py"]

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ["FLWR_HOME"] = tempfile.mkdtemp(prefix="flwr-")
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
