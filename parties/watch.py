"""Run a program on the server and follow its progress while it runs."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait

from engines.interface import Progress
from parties.transport import ServerClient
from utils.errors import TrisealError

SILENCE_SECONDS = 2.0
"""Without an event for so long, a watched run is looked at for whether it has ended."""


def run_watched(
    client: ServerClient,
    client_id: str,
    token: str,
    program: str,
    progress: Progress | None = None,
) -> float:
    """Run `program` and answer the server's seconds; `progress` gets the finished share, 0 to 1.

    Raises what ServerClient.run raises. Progress is a courtesy: an event stream that fails ends
    the reports, not the run.
    """
    if progress is None:
        return client.run(client_id, token, program)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(client.run, client_id, token, program)
        try:
            while not wait([job], timeout=0.05).done:
                _follow(client, client_id, token, program, progress, job)
        except TrisealError:
            wait([job])
    return job.result()


def _follow(
    client: ServerClient,
    client_id: str,
    token: str,
    program: str,
    progress: Progress,
    job: Future[float],
) -> None:
    for state in client.events(client_id, token, SILENCE_SECONDS):
        found = state.programs.get(program)
        if found is not None and found.status == "running":
            progress(found.progress)
        if job.done() or found is None or found.status in ("done", "failed"):
            return
