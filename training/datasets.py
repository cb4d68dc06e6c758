"""`python -m training.datasets`: write a data set as a CSV file for a schema.

`south-german` downloads the South German Credit data (UCI data set 573, CC BY 4.0) and writes its
1,000 loans in the columns of features/german_credit.json; with `--from`, it converts a file that
was downloaded before. `synthetic-german` draws invented loans of a region with the same columns.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import argparse
import csv
import io
import sys
from pathlib import Path

import httpx

from settings import ROOT
from training import south_german, synthetic_german
from utils.atomic_files import write_atomic
from utils.errors import ServerUnreachable, TrainingDataInvalid, TrisealError
from utils.one_line import in_one_line
from utils.regular_files import read_regular
from utils.terminal import print_any_text

DATA_FOLDER = ROOT / "build" / "data"
MOST_ROWS = 5_000_000
_SECONDS = 30.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    options = _parser().parse_args(arguments)
    try:
        if options.data_set == "south-german":
            count = write_south_german(options.out, options.source)
        else:
            count = write_synthetic_german(options.out, options.rows, options.seed, options.region)
    except (TrisealError, OSError) as error:
        print(f"training.datasets: {in_one_line(error)}", file=sys.stderr)
        return 1
    print(f"Wrote {count:,} rows to {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="training.datasets", description=__doc__)
    sets = parser.add_subparsers(dest="data_set", required=True, metavar="DATA_SET")
    real = sets.add_parser("south-german", help="the 1,000 loans of the South German Credit data")
    real.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="convert this archive or table instead of downloading it",
    )
    _add_out(real, "south_german.csv")
    drawn = sets.add_parser("synthetic-german", help="invented loans with the same columns")
    drawn.add_argument("--rows", type=int, default=24_000, help="number of loans")
    drawn.add_argument("--seed", type=int, default=20, help="seed of the loans")
    drawn.add_argument(
        "--region", type=int, default=0, help="region, which has its own distributions"
    )
    _add_out(drawn, "synthetic_german.csv")
    return parser


def _add_out(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--out", type=Path, default=DATA_FOLDER / name, help="file to write")


def write_south_german(out: Path, source: Path | None = None) -> int:
    """Write the South German Credit data to `out`; returns the number of rows.

    Reads `source`, or downloads the data. Raises TrainingDataInvalid if it is not the published
    table, ServerUnreachable if it cannot be downloaded, and OSError.
    """
    table = south_german.table_of(downloaded() if source is None else _content(source))
    south_german.require_published(table)
    rows = south_german.rows_of(table)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(south_german.HEADER)
    writer.writerows(rows)
    _write(out, text.getvalue())
    return len(rows)


def write_synthetic_german(out: Path, rows: int, seed: int, region: int) -> int:
    """Write invented loans of a region to `out`; returns their number.

    Raises TrainingDataInvalid and OSError.
    """
    if rows > MOST_ROWS:
        raise TrainingDataInvalid(f"At most {MOST_ROWS} rows can be drawn at once, not {rows}.")
    frame = synthetic_german.draw(rows, seed, region)
    _write(out, frame.to_csv(index=False, lineterminator="\n"))
    return rows


def downloaded(transport: httpx.BaseTransport | None = None) -> bytes:
    """Return the archive from UCI, of at most `south_german.MOST_BYTES`.

    Raises ServerUnreachable, and TrainingDataInvalid for a larger response.
    """
    data = b""
    try:
        with (
            httpx.Client(timeout=_SECONDS, transport=transport) as client,
            client.stream("GET", south_german.URL) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise ServerUnreachable(
                    f"{south_german.URL} returned HTTP {response.status_code}, not the data. "
                    f"{_BY_HAND}"
                )
            for part in response.iter_bytes():
                data += part
                if len(data) > south_german.MOST_BYTES:
                    raise TrainingDataInvalid(
                        f"{south_german.URL} returned more than {south_german.MOST_BYTES >> 20} "
                        f"MiB, so it is not the data. {_BY_HAND}"
                    )
    except httpx.HTTPError as error:
        raise ServerUnreachable(
            f"{south_german.URL} cannot be reached ({type(error).__name__}). {_BY_HAND}"
        ) from error
    return data


_BY_HAND = "Download data set 573 from archive.ics.uci.edu by hand, and pass it with --from."


def _content(path: Path) -> bytes:
    found = read_regular(path, south_german.MOST_BYTES + 1)
    if found is None:
        raise TrainingDataInvalid(f"{path} is not a file; name the downloaded archive or table.")
    return found[0]


def _write(out: Path, text: str) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, text.encode())  # readable by its owner only, as a lender's rows should be


if __name__ == "__main__":
    run_command(main)
