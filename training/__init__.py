"""Offline: data, training, compilation, evaluation, benchmark. Nothing else imports it."""
