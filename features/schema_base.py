"""The base class of all parts of a schema, and the types of their names and texts."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
Text = Annotated[str, Field(pattern=r"\S", max_length=80)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2}$")]
"""An ISO 639-1 code."""


class SchemaPart(BaseModel):
    """An immutable part of a schema that allows no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    added: ClassVar[frozenset[str]] = frozenset()
    """Fields that are left out of the JSON document where they have their default.

    So schemas that do not use them keep their fingerprints, and their deployments.
    """

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        # No annotation of the return type: with one, API documents would describe any object.
        document = handler(self)
        for name, default in _defaults_of_added(type(self)).items():
            if getattr(self, name) == default:
                document.pop(name, None)
        return document


@cache  # pydantic inspects a default's factory at every call
def _defaults_of_added(part: type[SchemaPart]) -> dict[str, Any]:
    fields = part.model_fields
    return {name: fields[name].get_default(call_default_factory=True) for name in part.added}
