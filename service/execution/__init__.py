"""Evaluation of programs: an interface, local worker processes, and a subpackage for Ray."""
