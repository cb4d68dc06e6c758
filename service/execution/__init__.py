"""Evaluation of programs: an interface, local worker processes, and Ray in a folder of its own."""
