"""Invented data of one owner whose values can be found again in whatever leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

ROWS = 24
SALARY_CATEGORIES = {"month": "employment", "amount": "income", "region": "employment"}


@dataclass(frozen=True)
class Canaries:
    """Salaries, a record, and the texts of which none may reach an institution or a log."""

    salaries: bytes
    record: bytes
    values: tuple[bytes, ...]

    @classmethod
    def drawn(cls, random: Random) -> Canaries:
        """Draw the data; numbers have nine digits, so that no other text has them by chance."""
        amounts = [random.randrange(10**8, 10**9) for _ in range(ROWS)]
        rows = [
            {
                "month": f"{2025 + i // 12}-{i % 12 + 1:02d}-01",
                "amount": amount,
                "region": "north" if i % 2 else "south",
            }
            for i, amount in enumerate(amounts)
        ]
        day = f"19{random.randrange(50, 90)}-{random.randrange(1, 13):02d}-11"
        record = {
            "name": f"Canary {random.randbytes(6).hex()}",
            "birth_date": day,
            "income": random.randrange(10**8, 10**9),
            "account_number": f"DE{random.randrange(10**17, 10**18)}",
        }
        account = str(record["account_number"])
        values = [*amounts, *record.values(), account[:-4]]
        return cls(
            json.dumps(rows).encode(),
            json.dumps(record).encode(),
            tuple(str(value).encode() for value in values),
        )
