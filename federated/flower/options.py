"""The configuration of the coordinator's run and of a lender's node, as Flower hands it over.

A node has its own configuration (`flower-supernode --node-config`), which alone says which files it
reads. In Flower's simulation nodes have none; only there, the run's configuration names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from contract.trainings import MemberName
from features.schema import Schema
from federated.agents.code_files import CODES
from federated.agents.coordinator_agent import Patience
from federated.agents.limits import LEAST_ROWS
from federated.agents.options import DEFAULT_SCHEMA
from federated.aggregation.group import LEAST_LENDERS, MOST_LENDERS
from federated.plan import Plan
from settings import ROOT
from utils.errors import InvalidRequest

PARTITION = "partition-id"
"""Key by which Flower's simulation numbers a node; Flower calls it so."""
NAME = "{name}"
"""Placeholder for a lender's name in the paths of a simulation."""


def _names(text: object) -> object:
    """Return the names in a text with commas; raises ValueError for one that is there twice."""
    if not isinstance(text, str):
        return text
    names = [name.strip() for name in text.split(",") if name.strip()]
    if len(set(names)) < len(names):
        raise ValueError("a lender is named twice")
    return names


class _Options(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.replace("_", "-")
    )


_O = TypeVar("_O", bound=_Options)


class RunOptions(_Options):
    """The configuration of a run (`flwr run --run-config`), with the plan's parameters."""

    home: Path
    lenders: Annotated[
        tuple[MemberName, ...],
        BeforeValidator(_names),
        Field(min_length=LEAST_LENDERS, max_length=MOST_LENDERS),
    ]
    schema_: Path = Field(default=DEFAULT_SCHEMA, alias="schema")
    trust: str = ""
    trees: int = 60
    depth: int = 3
    learning_rate: float = 0.3
    reg_lambda: float = Field(default=1.0, alias="lambda")
    gamma: float = 0.0
    min_child_weight: float = 1.0
    least_rows: int = LEAST_ROWS
    early_stopping: int = 0
    validation_share: float = 0.2
    seed: int = 0
    noise_multiplier: float = 0.0
    delta: float = 1e-6
    start_seconds: float = Field(default=600.0, gt=0)
    step_seconds: float = Field(default=60.0, gt=0)
    simulated_homes: str = ""
    simulated_data: str = ""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> RunOptions:
        """Check the configuration of a run; raises InvalidRequest, which names a fault."""
        return _checked(cls, config, "run")

    @property
    def folder(self) -> Path:
        """The coordinator's own folder."""
        return ROOT / self.home

    @property
    def patience(self) -> Patience:
        return Patience(self.start_seconds, self.step_seconds)

    @property
    def trust_file(self) -> Path | None:
        return ROOT / self.trust if self.trust else None

    def plan(self) -> Plan:
        """Return the plan; raises SchemaInvalid and PlanInvalid."""
        schema = Schema.load(ROOT / self.schema_)
        names = (
            *("trees", "depth", "learning_rate", "reg_lambda", "gamma", "min_child_weight"),
            *("least_rows", "validation_share", "seed"),
        )
        facts: dict[str, Any] = {name: getattr(self, name) for name in names}
        facts["early_stopping"] = self.early_stopping or None
        if self.noise_multiplier:
            facts["privacy"] = {"noise_multiplier": self.noise_multiplier, "delta": self.delta}
        return Plan.parse({"schema": schema.model_dump(mode="json"), **facts}, "the run's plan")


class NodeOptions(_Options):
    """The configuration of a lender's node."""

    name: MemberName
    home: Path
    data: Path
    code_file: Path
    schema_: Path = Field(default=DEFAULT_SCHEMA, alias="schema")
    target: str | None = None
    trust: str = ""
    least_rows: int = LEAST_ROWS
    require_noise: bool = False

    @classmethod
    def of(cls, node: Mapping[str, Any], run: Mapping[str, Any]) -> NodeOptions:
        """Check a node's configuration, or take a simulated one's from the run's configuration.

        Raises InvalidRequest, which names a fault.
        """
        if PARTITION not in node or "name" in node:
            return _checked(cls, node, "node")
        options = RunOptions.of(run)
        names, position = options.lenders, int(node[PARTITION])
        if not 0 <= position < len(names):
            raise InvalidRequest(
                f"The simulation has more nodes than the run has lenders, {len(names)}. Set the "
                "same number for both."
            )
        name = names[position]
        if not options.simulated_homes or not options.simulated_data:
            raise InvalidRequest("Set simulated-homes and simulated-data for a simulation.")
        document = {
            "name": name,
            "home": options.simulated_homes.replace(NAME, name),
            "data": options.simulated_data.replace(NAME, name),
            "code-file": options.folder / CODES / name,
            "schema": options.schema_,
            "least-rows": min(LEAST_ROWS, options.least_rows),
        }
        return _checked(cls, document, "run")

    @property
    def folder(self) -> Path:
        """The lender's own folder."""
        return ROOT / self.home

    @property
    def trust_file(self) -> Path | None:
        return ROOT / self.trust if self.trust else None


def _checked(kind: type[_O], config: Mapping[str, Any], whose: str) -> _O:
    own = {key: value for key, value in config.items() if key not in (PARTITION, "num-partitions")}
    try:
        return kind.model_validate(own)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}"
            for one in error.errors(include_input=False)[:5]
        )
        raise InvalidRequest(f"The {whose}'s configuration cannot be used: {faults}.") from None
