"""Engines by name. An engine's library is imported only when that engine is asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engines.deployment import Deployment
from engines.interface import PartyEngine, PublicModel, ServerEngine
from utils.errors import EngineUnavailable, ForeignMessage

ENGINES = ("clear", "concrete", "concrete_ml")


def load_server_engine(name: str, folder: Path) -> ServerEngine:
    """The server's half of an engine, from a deployment folder.

    Raises EngineUnavailable, DeploymentMissing, DeploymentMixed.
    """
    deployment = Deployment.load(folder)
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
    except ImportError as error:
        raise _unavailable(name, error) from error
    raise _unknown(name)


def load_party_engine(public: PublicModel, client_files: bytes) -> PartyEngine:
    """A party's half of an engine, from what GET /model and GET /model/client answered.

    Raises EngineUnavailable, and ForeignMessage where the files are not those of the model.
    """
    if hashlib.sha256(client_files).hexdigest() != public.client_sha256:
        raise ForeignMessage(
            "The client files are not those of this model; load both from the server again."
        )
    name = public.engine.name
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


def _unknown(name: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"There is no engine {name[:40]!r}; TRISEAL_ENGINE is one of {', '.join(ENGINES)}."
    )


def _unavailable(name: str, error: ImportError) -> EngineUnavailable:
    return EngineUnavailable(
        f"Engine {name} needs a library that cannot be loaded ({error}); run `make setup`."
    )
