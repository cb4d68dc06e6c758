"""Runs as durable jobs: the queue, claims on its jobs, the scheduler, and waiting for a run."""
