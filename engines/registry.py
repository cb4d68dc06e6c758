"""Engines by name. An engine's library is imported only when that engine is requested."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engines.deployment import Deployment
from engines.interface import JointPartyEngine, PartyEngine, PublicModel, ServerEngine
from utils.errors import EngineUnavailable, ForeignMessage

ENGINES = ("clear", "concrete", "concrete_ml", "levelled")


def load_server_engine(name: str, folder: Path) -> ServerEngine:
    """Return the server's half of an engine, built from a deployment folder.

    Raises EngineUnavailable, DeploymentMissing, DeploymentMixed.
    """
    deployment = Deployment.load(folder)
    if name in ENGINES:
        deployment.engine_facts(name)  # before its library, which may not be installed either
    try:
        if name == "clear":
            from engines.clear import ClearServer

            return ClearServer(deployment)
        if name == "concrete":
            from engines.concrete.server import ConcreteServer

            return ConcreteServer(deployment)
        if name == "concrete_ml":
            from engines.concrete_ml.server import ConcreteMlServer

            return ConcreteMlServer(deployment)
        if name == "levelled":
            from engines.levelled.server import LevelledServer

            return LevelledServer(deployment)
    except ImportError as error:
        raise _unavailable(name, error) from error
    raise _unknown(name)


def load_party_engine(public: PublicModel, client_files: bytes) -> PartyEngine:
    """Return a party's half of an engine with a single key.

    `public` is the response of GET /model and `client_files` that of GET /model/client. Raises
    EngineUnavailable, also for an engine with joint keys, and ForeignMessage if the files do not
    belong to the model.
    """
    name = _checked_name(public, client_files)
    if public.engine.joint_keys:
        raise EngineUnavailable(
            f"Engine {name[:40]} has a joint key, which the parties generate together; start each "
            "party with `python -m parties`."
        )
    try:
        if name == "clear":
            from engines.clear import ClearParty

            return ClearParty(public)
        if name == "concrete":
            from engines.concrete.party import ConcreteParty

            return ConcreteParty(public, client_files)
        if name == "concrete_ml":
            from engines.concrete_ml.party import ConcreteMlParty

            return ConcreteMlParty(public, client_files)
    except ImportError as error:
        raise _unavailable(name, error) from error
    raise _unknown(name)


def load_joint_party_engine(public: PublicModel, client_files: bytes) -> JointPartyEngine:
    """Return a party's half of an engine with joint keys, from the same two responses.

    Raises EngineUnavailable, also for an engine with a single key, MalformedMessage, and
    ForeignMessage if the files do not belong to the model.
    """
    name = _checked_name(public, client_files)
    try:
        if name == "levelled":
            from engines.levelled.party import LevelledParty

            return LevelledParty(public, client_files)
    except ImportError as error:
        raise _unavailable(name, error) from error
    if name in ENGINES:
        raise EngineUnavailable(
            f"Engine {name} has no joint keys; set TRISEAL_ENGINE=levelled on the server to use "
            "them."
        )
    raise _unknown(name)


def _checked_name(public: PublicModel, client_files: bytes) -> str:
    """Return the engine's name; raises ForeignMessage if the files do not belong to the model."""
    if hashlib.sha256(client_files).hexdigest() != public.client_sha256:
        raise ForeignMessage(
            "The client files do not belong to this model; load both from the server again."
        )
    return public.engine.name


def _unknown(name: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"There is no engine {name[:40]!r}; TRISEAL_ENGINE is one of {', '.join(ENGINES)}."
    )


def _unavailable(name: str, error: ImportError) -> EngineUnavailable:
    target = "setup-concrete" if name.startswith("concrete") else "setup"
    return EngineUnavailable(
        f"Engine {name} needs a library that cannot be loaded here ({error}); run `make {target}`."
    )
