"""Trainings of several lenders: hosting, joining, and the relay of sealed messages."""
