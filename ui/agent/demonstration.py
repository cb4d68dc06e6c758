"""Calls by which the demonstration's stage takes a step on a party's page.

An agent has them only if it was started with TRISEAL_DEMONSTRATION_TOKEN, as `make demo` does.
A call names a shipped example or a program; it carries no record, and its response no result. The
token is a secret of the demonstration's processes. A request that a browser has made is refused,
whatever token it has.
"""

from __future__ import annotations

from typing import Annotated, Literal

from anyio import to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from engines.interface import REASONS
from parties.agent import Agent
from ui.access import bearer_fits
from ui.examples import load_examples
from ui.places import Place
from utils.errors import (
    ForeignOrigin,
    InvalidRequest,
    NotAuthorised,
    OutOfStep,
    TrisealError,
    UnknownHost,
    UploadTooLarge,
)
from web.problems import problem

PATH = "/demonstration"
LARGEST_BODY = 1024
_OF_BROWSERS = ("origin", "referer", "sec-fetch-site", "cookie")
"""Headers that every request of a page in a browser has, some of them or all."""

StepName = Literal["send", "decide", "explain", "reasons"]


class StepRequest(BaseModel):
    """A step of an application: to send the example of this index, or to agree to a program."""

    model_config = ConfigDict(extra="forbid")

    client_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    step: StepName
    example: Annotated[int, Field(ge=0, le=63)] = 0


class StepTaken(BaseModel):
    """The response: `needed` is False if the application has no such step.

    That is only so for the reasons of an application that was approved.
    """

    needed: bool


class DemonstrationCalls:
    """ASGI middleware that serves the calls of the stage, and passes on everything else."""

    def __init__(self, app: ASGIApp, agent: Agent, place: Place, token: str) -> None:
        self.app, self.agent, self.place, self._token = app, agent, place, token
        public = agent.connection.public
        self._examples = load_examples(public.schema_, public.model_version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        response: Response
        try:
            self._require_stage(request)
            asked = await _read(request)
            needed = await to_thread.run_sync(self._take, asked)
            response = JSONResponse(StepTaken(needed=needed).model_dump())
        except TrisealError as error:
            response = problem(error)
        response.headers["Cache-Control"] = "no-store"
        await response(scope, receive, send)

    def _require_stage(self, request: Request) -> None:
        """Raise UnknownHost, ForeignOrigin, NotAuthorised or InvalidRequest."""
        headers: Headers = request.headers
        hosts = headers.getlist("host")
        if len(hosts) != 1 or self.place.hosts.named(hosts[0]) is None:
            raise UnknownHost("This page is not served under that host name.")
        if any(name in headers for name in _OF_BROWSERS):
            raise ForeignOrigin("Only the demonstration's stage may take steps here.")
        if not bearer_fits(headers.get("authorization", ""), self._token):
            raise NotAuthorised("Only the demonstration's stage may take steps here.")
        if request.method != "POST":
            raise InvalidRequest("Take a step with POST.")

    def _take(self, asked: StepRequest) -> bool:
        """Take the step unless it was taken; return False if it is not needed.

        Raises UnknownApplication, InvalidRequest, OutOfStep and what the server reports.
        """
        application = self.agent.application(asked.client_id)
        application.look()
        member = application.member
        if asked.step == "send":
            if not member.has_sent:
                if asked.example >= len(self._examples):
                    raise InvalidRequest("There is no such example.")
                application.send(self._examples[asked.example].of(self.agent.party))
            return True
        if asked.step == REASONS and member.reads("decide"):
            if member.decision is None:
                raise OutOfStep("The decision is not opened yet.")
            if member.decision.approved:
                return False
        if self.agent.party.name not in member.agreed_by(asked.step):
            application.agree(asked.step)
        return True


async def _read(request: Request) -> StepRequest:
    """Return the body; raises UploadTooLarge and InvalidRequest."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise UploadTooLarge(f"The body of a step has at most {LARGEST_BODY} bytes.")
    try:
        return StepRequest.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest("The body must be a step of an application, as JSON.") from error
