"""Which kind of session a server's engine needs: with one key holder, or with joint keys."""

from __future__ import annotations

from engines.interface import PublicModel
from parties.joint.session import JointSession
from parties.single_key.session import ApplicationSession

Session = ApplicationSession | JointSession


def session_class(public: PublicModel) -> type[ApplicationSession] | type[JointSession]:
    """The class whose `open` and `resume` give a session for this model."""
    return JointSession if public.engine.joint_keys else ApplicationSession
