"""Runs as durable jobs: the queue, claims on it, the scheduler, and waiting for a run's end."""
