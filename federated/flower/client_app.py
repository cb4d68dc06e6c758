"""The ClientApp, which Flower runs on each lender's node."""

from __future__ import annotations

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from federated.flower.messages import Delivery, content_of, read
from federated.flower.node import reply_to
from federated.flower.options import NodeOptions

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Take the messages for this lender, and reply with its own."""
    options = NodeOptions.of(context.node_config, context.run_config)
    reply = reply_to(read(Delivery, message.content), options)
    return Message(content_of(reply), reply_to=message)
