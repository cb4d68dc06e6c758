"""A training as a lender's agent tells of it to the lender's programs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from federated.agents.progress import LenderView, State, TrainingView, TreeView

Role = Literal["lender", "coordinator"]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingEvent(_Facts):
    """Something that happened; numbers rise from 1 while the agent runs."""

    number: int
    at: float = Field(description="Seconds since 1970.")
    source: Role = Field(description="Which part of this agent noticed it.")
    text: str


class TrainingFacts(_Facts):
    """A training; what one lender knows of the others follows from the trees announced to it."""

    run_id: str = Field(description="The training's id, equal at all its lenders.")
    role: Role = Field(description="A coordinator is also one of the lenders.")
    name: str = Field(description="This lender's name.")
    addr: str = Field(description="The data that this lender trains on.")
    began: float = Field(description="Seconds since 1970.")
    state: State
    reason: str = ""
    problem: str = Field(
        default="", description="Why nothing goes on at present; it is tried again."
    )
    tree: int = Field(default=0, description="Number of the last tree announced, from 0.")
    level: int = Field(default=0, description="Its last level announced, from 0.")
    trees_planned: int = 0
    trees: tuple[TreeView, ...] = ()
    auc: float | None = Field(default=None, description="Newest validation AUC.")
    kept: int | None = Field(default=None, description="Trees in the finished model.")
    lenders: tuple[LenderView, ...] = ()
    bytes: int = Field(default=0, description="Bytes of sealed messages sent and received.")
    seconds: float = 0.0
    seconds_left: float | None = Field(default=None, description="An estimate.")


def facts_of(view: TrainingView | None, **own: object) -> TrainingFacts:
    """Return the facts of a training from an agent's view, if there is one, and from `own`."""
    values: dict[str, object] = {}
    if view is not None:
        names = TrainingFacts.model_fields.keys() & TrainingView.model_fields.keys()
        values = {name: getattr(view, name) for name in names}
        values["seconds_left"] = view.seconds_left
    return TrainingFacts.model_validate({**values, **own})
