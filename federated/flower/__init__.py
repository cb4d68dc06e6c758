"""The training of several lenders over Flower's transport: an app for `flwr run`.

Flower (flower.ai) has its own environment, since it pins older libraries: `make setup-flower`.
"""
