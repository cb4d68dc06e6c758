"""Every kind of page for the tests of the guard, with a record of the actions on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI

from features.encoding import Layout
from settings import Settings
from tests.ui.conftest import public_of, with_parties
from tests.ui.serving import served
from tests.ui.test_joint_pages import joint_public
from ui.agent.page import build_agent_page
from ui.guard import PageGuard
from ui.places import Place, agent_place, page_place
from ui.serving import app_of
from ui.single.page import build_page
from ui.stage.page import build_stage
from utils.errors import NotAuthorised
from utils.ports import free_port

KINDS = ("party", "stage", "single")


class Joined(list[str]):
    """The join codes that were used on the page."""

    def __call__(self, code: str) -> Any:
        self.append(code)
        raise NotAuthorised("No such application; this is a test.")


class Page:
    """One page: its app without the guard, its place, and the actions on it."""

    def __init__(self, kind: str, folder: Path, **settings: Any) -> None:
        self.kind, self.port, self.joined = kind, free_port(), Joined()
        schema = with_parties(2)
        public = joint_public(schema)
        own = Settings(page_port=self.port, **settings)
        self.place: Place
        if kind == "party":
            party = schema.party("first")
            agent = SimpleNamespace(
                connection=SimpleNamespace(public=public, layout=Layout(schema)),
                party=party,
                first=None,
                join=self.joined,
            )
            page = build_agent_page(agent)
            self.place = agent_place(own, party.name, party.label, self.port)
        elif kind == "stage":
            page = build_stage(public, None, own)
            self.place = page_place(own, schema.party_names)
        else:
            page = build_page(public_of(schema), folder)
            self.place = page_place(own)
        self.app: FastAPI = app_of(page, self.place)

    @property
    def link(self) -> str:
        return self.place.access.link(self.place.address)

    @contextmanager
    def served(self, guarded: bool = True) -> Iterator[str]:
        """Serve the page with its guard or, as a control, without."""
        with served(PageGuard(self.app, self.place) if guarded else self.app, self.port) as url:
            yield url
