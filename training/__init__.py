"""Offline tools: data, training, compilation, evaluation and benchmark."""
