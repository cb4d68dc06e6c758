"""The first message of each side of a session: its fresh keys, vouched for by its identity key.

It is sealed under the secret of the session's code, so that a server without the code cannot make
one, and signed twice: with the fresh key that it names, and with the sender's identity key. It also
names the other side's identity key as the server reported it to the sender, so that a server that
told the two sides different keys is found.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError

from parties.joint.channel import FirstWords, Identity, Place, PublicIdentity, signed
from parties.joint.identities import IdentityKey, is_signed, shown
from parties.joint.messages import JointMessage, RawKey, Signature
from utils.errors import IdentityMismatch, MalformedMessage, NotAuthentic

_DOMAIN = b"triseal identity of a session 1"


class SessionHello(JointMessage):
    """The first message: fresh keys for the session, vouched for by the identity key.

    `peer_key` is the identity key of the other side, as the server reported it to the sender.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    signing_key: RawKey
    exchange_key: RawKey
    peer_key: RawKey
    identity_key: RawKey
    identity_signature: Signature = Field(repr=False)


def sealed_hello(
    place: Place, identity: Identity, key: IdentityKey, name: str, peer_key: bytes
) -> bytes:
    """Return the sealed hello of the side `place.sender`, called `name`.

    `identity` has the fresh keys and the code's secret, `key` is the sender's identity key, and
    `peer_key` the other side's, as the server reported it.
    """
    public = identity.public
    unsigned = SessionHello(
        name=name,
        signing_key=public.signing,
        exchange_key=public.exchange,
        peer_key=peer_key,
        identity_key=key.public,
        identity_signature=bytes(64),
    )
    hello = key.signed(place.application, place.sender, unsigned, _DOMAIN)
    words = FirstWords(place.application, identity)
    return words.seal(place, hello.model_dump_json().encode())


def opened_hello(
    place: Place, body: bytes, identity: Identity, expected: bytes, own: bytes
) -> SessionHello:
    """Return the hello of the side `place.sender`, whose identity key must be `expected`.

    `identity` has the receiver's fresh keys and the code's secret, and `own` is the receiver's
    identity key. Raises NotAuthentic, IdentityMismatch and MalformedMessage.
    """
    sender = place.sender
    try:
        payload, signature = FirstWords(place.application, identity).open(place, body)
    except NotAuthentic as error:
        raise NotAuthentic(
            f"The first message of the {sender} was not made with the secret of this session's "
            "code: somebody connected with another code, or the message was altered. The session "
            "has ended; start a new one, and give its whole code to the institution."
        ) from error
    hello = _parsed(payload, sender)
    signed(PublicIdentity(hello.signing_key, hello.exchange_key), place, payload, signature)
    if hello.identity_key != expected or not is_signed(place.application, sender, hello, _DOMAIN):
        raise IdentityMismatch(
            f"The {sender} presented the key {shown(hello.identity_key)}, but the server says that "
            f"its key is {shown(expected)}: the server, or somebody with the code, plays the "
            f"{sender}. The session has ended; ask the {sender} for its key by another channel."
        )
    if hello.peer_key != own:
        raise IdentityMismatch(
            f"The {sender} was told the key {shown(hello.peer_key)} as that of this agent, which "
            f"is {shown(own)}: the server may play one side against the other. The session has "
            "ended; do not use this server."
        )
    return hello


def _parsed(payload: bytes, sender: str) -> SessionHello:
    wrong = MalformedMessage(
        f"The first message of the {sender} cannot be read; use the same release on both sides."
    )
    try:
        hello = SessionHello.model_validate_json(payload)
    except ValidationError:
        raise wrong from None
    if not hello.name.isprintable():
        raise wrong
    return hello
