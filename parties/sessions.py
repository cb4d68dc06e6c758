"""The choice of session class for a server's engine: one key holder, or joint keys."""

from __future__ import annotations

from engines.interface import PublicModel
from parties.joint.session import JointSession
from parties.single_key.session import ApplicationSession

Session = ApplicationSession | JointSession


def session_class(public: PublicModel) -> type[ApplicationSession] | type[JointSession]:
    """Return the class whose `open` and `resume` create a session for this model."""
    return JointSession if public.engine.joint_keys else ApplicationSession
