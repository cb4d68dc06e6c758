"""Coverage-guided fuzzing of the decoders with atheris (libFuzzer): `make fuzz`.

    python -m tests.fuzz.coverage_guided [--seconds 20] [--decoder NAME]

Hypothesis tries the mutations that it was given; libFuzzer keeps inputs that reach new code and
mutates them further. Each decoder runs in its own process, since libFuzzer ends its process. An
input that a decoder neither reads nor refuses is printed and kept in build/fuzz; the exit code is
then 1.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / "build" / "fuzz"
PACKAGES = ["engines", "federated", "parties", "service", "python_multipart", "zipfile"]
LONGEST = 1 << 16
MEMORY_MB = 2048


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one decoder in this process; does not return."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES, enable_loader_override=False):
        from tests.fuzz.decoders import decoders
        from utils.errors import TrisealError

        decoder = decoders()[name]

    def read(content: bytes) -> None:
        try:
            decoder.read(content)
        except TrisealError as error:
            if not error.message:
                raise AssertionError("an error without a message") from error

    corpus = FOUND / "corpus" / name.replace(" ", "_")
    corpus.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(decoder.samples):
        (corpus / f"sample_{number}").write_bytes(sample)
    limits = (
        f"-max_total_time={seconds}",
        f"-max_len={max(LONGEST, *map(len, decoder.samples))}",
        f"-rss_limit_mb={MEMORY_MB}",
        "-timeout=10",
        "-verbosity=0",
        f"-artifact_prefix={FOUND}/{name.replace(' ', '_')}_",
    )
    atheris.Setup([sys.argv[0], *limits, str(corpus)], read)
    atheris.Fuzz()


def main() -> int:
    parser = CommandParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="for each decoder")
    parser.add_argument("--decoder", help="this one alone")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.here:
        fuzz(chosen.decoder, chosen.seconds)
    from tests.fuzz.decoders import decoders

    failed = []
    for name in [chosen.decoder] if chosen.decoder else decoders():
        print(f"{name}: {chosen.seconds} s", flush=True)
        options = ("--here", "--decoder", name, "--seconds", str(chosen.seconds))
        command = (sys.executable, "-m", "tests.fuzz.coverage_guided", *options)
        ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        if ended.returncode:
            failed.append(name)
            print(ended.stdout[-4000:], ended.stderr[-4000:], sep="\n", flush=True)
    print(f"failed: {', '.join(failed) or 'none'}; inputs are in {FOUND}")
    return bool(failed)


if __name__ == "__main__":
    run_command(main)
