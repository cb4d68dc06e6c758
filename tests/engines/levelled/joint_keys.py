"""Collective keys with all parties' secrets, so that tests can compute phases and noise."""

import numpy as np

from engines.levelled.ceremony import WholeKey
from engines.levelled.parameters import DEFAULT

PARTIES = ("applicant", "bank", "credit_agency")


def joint_keys(parameters=DEFAULT, parties=PARTIES):
    """Return a new collective key."""
    return WholeKey.make(parties, parameters)


def errors_of(key, masks, bodies, messages=0):
    """Return phases minus their messages, as floats in units of the torus."""
    phases = key.phase(masks, bodies) - np.asarray(messages, np.uint64)
    return phases.view(np.int64) * 2.0**-64
