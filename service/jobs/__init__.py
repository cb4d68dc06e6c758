"""Runs as durable jobs: the queue, the scheduler, and waiting for a run."""
