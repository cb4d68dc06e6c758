"""The bodies of requests and responses of a lender's interface; facts are views.py's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator

from contract.trainings import MOST_MEMBERS, MemberName
from federated.agents.api.data_sets import NAME, OWN
from federated.agents.api.views import TrainingEvent, TrainingFacts
from federated.agents.progress import State
from federated.plan import Plan
from federated.privacy.parameters import Privacy
from federated.scorecard import FIELDS

PLAN_FIELDS = tuple(name for name in Plan.model_fields if name != "schema_")
_START_ONLY = (*PLAN_FIELDS, "hours", "start_seconds", "step_seconds")

DataSetName = Annotated[str, Field(pattern=NAME)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrainBody(_Body):
    """A training to join, by the `code` from its coordinator, or to start, with `lenders`.

    `addr` is the name of a data set sent before, or the path of a CSV file inside the agent's data
    folder; left out, the file that the agent was started with. The parameters of a new training are
    those of XGBoost where they have its names; those left out have the default values of
    `python -m federated coordinator`.
    """

    addr: Annotated[str, Field(min_length=1, max_length=1000)] = OWN
    code: str | None = Field(default=None, min_length=1, max_length=300, repr=False)
    lenders: Annotated[
        tuple[MemberName, ...] | None,
        Field(
            min_length=1,
            max_length=MOST_MEMBERS,
            description="The lenders' names; this one may be left out.",
        ),
    ] = None
    trees: int | None = None
    depth: int | None = None
    learning_rate: float | None = None
    reg_lambda: float | None = None
    gamma: float | None = None
    min_child_weight: float | None = None
    least_rows: int | None = None
    early_stopping: int | None = None
    validation_share: float | None = None
    seed: int | None = None
    privacy: Privacy | None = None
    hours: Annotated[float, Field(gt=0, le=24 * 30)] = 24.0
    start_seconds: Annotated[
        float, Field(gt=0, le=86_400, description="Time to join before the start.")
    ] = 600.0
    step_seconds: Annotated[
        float, Field(gt=0, le=3_600, description="Time for one message of a lender.")
    ] = 30.0

    @model_validator(mode="after")
    def _check(self) -> TrainBody:
        if (self.code is None) == (self.lenders is None):
            raise ValueError("give either code, to join a training, or lenders, to start one")
        given = sorted(self.model_fields_set & set(_START_ONLY))
        if self.code is not None and given:
            raise ValueError(f"{', '.join(given)}: a training that is joined has its own plan")
        return self

    def plan_facts(self) -> dict[str, Any]:
        """Return the plan's parameters that were given."""
        found = self.model_dump(mode="json", include=set(PLAN_FIELDS))
        return {name: value for name, value in found.items() if value is not None}


class TrainingBegun(_Body):
    """A training that this agent takes part in from now on.

    `codes` are for the other lenders of a training that was started here. Give each its own over a
    channel that both trust: whoever has a code can take that lender's place.
    """

    run_id: str
    state: State
    codes: dict[str, str] = Field(default={}, repr=False)


class TrainingDetails(TrainingFacts):
    """A training, with the codes of the other lenders until one that was started here begins."""

    codes: dict[str, str] = Field(default={}, repr=False)


class TrainingLine(_Body):
    """A training in short."""

    run_id: str
    state: State
    role: str
    addr: str
    began: float
    trees: int
    trees_planned: int
    auc: float | None


class Trainings(_Body):
    """The trainings of this agent, the oldest first."""

    items: tuple[TrainingLine, ...]


class TrainingEvents(_Body):
    """Events of a training, the oldest first."""

    items: tuple[TrainingEvent, ...]


class DataSet(_Body):
    """A stored data set; `at` is when it was stored, in seconds since 1970."""

    name: str
    bytes: int
    at: float


class DataSetStored(_Body):
    """A data set that can be used for trainings now."""

    name: str
    rows: int


class StoredDataSets(_Body):
    """The stored data sets, by name."""

    items: tuple[DataSet, ...]


_WORD = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
_SCORECARD = {
    "type": "object",
    "title": "Scorecard",
    "description": "The flat body of the Fineract credit scorecard. `credit_amount` is another "
    "name of `credit`. With `encrypted`, the server decides on ciphertexts.",
    "required": [name for name in FIELDS if name != "sex"],
    "properties": {
        "age": {"type": "integer"},
        "sex": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "job": _WORD,
        "housing": {"type": "string"},
        "credit": {"type": "number"},
        "purpose": {"type": "string"},
        "duration": {"type": "integer"},
        "encrypted": {"type": "boolean", "default": False},
    },
    "example": {
        "age": 35,
        "sex": "female",
        "job": 2,
        "housing": "own",
        "credit": 2300,
        "purpose": "radio/TV",
        "duration": 18,
    },
}
Scorecard = Annotated[dict[str, JsonValue], WithJsonSchema(_SCORECARD)]
