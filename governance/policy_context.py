"""The parts of a use's context that a policy's rules read.

Rulings on uses that differ in no other part are the same, so that they are asked for once.
"""

from __future__ import annotations

import json
from typing import Any

import cedarpy

CONTEXT: dict[str, str] = {"Var": "context"}


def context_read_by(cedar: str) -> frozenset[str] | None:
    """Return the attributes of `context` that policies read; None if they may read all of it.

    The policies are walked in Cedar's JSON format, in which an attribute is read by `.` or `has`.
    Any other occurrence of the context, such as in a comparison, may read all of it.
    """
    found: set[str] = set()
    policies = json.loads(cedarpy.policies_to_json_str(cedar))
    return frozenset(found) if _collect(policies, found) else None


def _collect(node: Any, found: set[str]) -> bool:
    """Add the attributes that an expression reads; return False if it may read all of them."""
    if node == CONTEXT:
        return False
    if isinstance(node, list):
        return all(_collect(item, found) for item in node)
    if not isinstance(node, dict):
        return True
    for operator in (".", "has"):
        operands = node.get(operator)
        if (
            len(node) == 1
            and isinstance(operands, dict)
            and operands.get("left") == CONTEXT
            and isinstance(operands.get("attr"), str)
        ):
            found.add(operands["attr"])
            return True
    return all(_collect(item, found) for item in node.values())
