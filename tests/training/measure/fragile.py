"""An object for a process of its own, in a module that is imported fast."""

from utils.errors import MalformedMessage, OutOfStep


class Fragile:
    """Adds numbers, and fails or ends its process on request."""

    def __init__(self, value):
        if value is None:
            raise MalformedMessage("Nothing to hold.")
        self.value = value

    def add(self, more):
        if more < 0:
            raise OutOfStep("Only more.")
        self.value += more
        return self.value

    def die(self):
        raise SystemExit(3)
