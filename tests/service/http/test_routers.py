"""Routers that skip other paths, and models written early, change no response."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, Field, field_serializer
from starlette.testclient import TestClient

from web.content_types import TypedRoute
from web.routers import SegmentRouter

THREADS: list[int] = []


class Shown(BaseModel):
    """A response whose member has another name outside, and notes the thread that writes it."""

    name: str = Field(alias="schema")

    @field_serializer("name")
    def write(self, name: str) -> str:
        THREADS.append(threading.get_ident())
        return name


class More(Shown):
    """A response with a member that the route does not show."""

    inside: str = "not shown"


def shown(name: str = "é\u2028") -> Shown:
    THREADS.append(threading.get_ident())
    return Shown(schema=name)


def one_shown(item: str) -> Shown:
    return Shown(schema=item)


def more() -> Shown:
    return More(schema="x")


def none() -> None:
    return None


async def later() -> Shown:
    return Shown(schema="later")


def app_of(routers: type[APIRouter], routes: Any) -> FastAPI:
    app = FastAPI(redirect_slashes=False)
    prefixes = ("/things", "/log", "")
    first, second, any_path = (routers(prefix=each, route_class=routes) for each in prefixes)
    first.add_api_route("", shown, methods=["POST"], status_code=201)
    first.add_api_route("/{item}", one_shown, methods=["GET"])
    first.add_api_route("/{item}", none, methods=["DELETE"], status_code=204)
    second.add_api_route("", later, methods=["GET"])
    second.add_api_route("/more", more, methods=["GET"])
    third = routers(prefix="/things", route_class=routes)
    third.add_api_route("/{item}/parts", one_shown, methods=["GET"])
    any_path.add_api_route("/{item}.txt", one_shown, methods=["GET"])
    for router in (first, second, third, any_path):
        app.include_router(router)
    return app


class Plain(TypedRoute):
    """The control: FastAPI validates and writes what the route's function returns."""

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        super(TypedRoute, self).__init__(path, endpoint, **options)


OURS, FASTAPIS = app_of(SegmentRouter, TypedRoute), app_of(APIRouter, Plain)


@pytest.mark.parametrize("root", ["", "/prefix", "/things"])
@pytest.mark.parametrize(
    "path",
    [
        *("/", "/things", "/things/", "/things/a", "/things/a/", "/things/a/parts", "/thing"),
        *("//things/a", "/Things/a", "/things%2Fa", "/%74hings/a", "/things/é", "/things/a%2Fb"),
        *("/log", "/log/", "/log/more", "/logs", "/x.txt", "/things.txt", "/openapi.json"),
    ],
)
def test_every_response_is_that_of_fastapi(path: str, root: str) -> None:
    seen = set()
    for method in ("GET", "POST", "DELETE", "HEAD"):
        found = []
        for app in (OURS, FASTAPIS):
            answer = TestClient(app, root_path=root).request(method, f"{root}{path}")
            found.append((answer.status_code, answer.headers.multi_items(), answer.content))
        assert found[0] == found[1]
        seen.add(found[0][0])
    assert seen - {404} or path not in ("/things/a", "/log", "/x.txt"), "the control"


def test_model_is_written_in_the_thread_of_its_function() -> None:
    for app, same in ((OURS, True), (FASTAPIS, False)):
        THREADS.clear()
        answer = TestClient(app).post("/things")
        assert answer.json() == {"schema": "é\u2028"}
        made, wrote = THREADS
        assert (made == wrote) is same


def test_no_member_of_a_subclass_is_shown() -> None:
    assert TestClient(OURS).get("/log/more").json() == {"schema": "x"}
    assert "inside" in More(schema="x").model_dump(), "the control"
