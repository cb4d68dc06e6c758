"""Every setting, read from the environment (prefix `TRISEAL_`) or a `.env` file; no other place."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent

EngineName = Literal["clear", "concrete", "concrete_ml", "levelled"]


class Settings(BaseSettings):
    """Documented in the README's table, which a test compares with this class."""

    model_config = SettingsConfigDict(env_prefix="TRISEAL_", env_file=".env", extra="ignore")

    engine: EngineName = Field(
        default="levelled",
        description="Evaluator: `levelled` (joint keys), `concrete`, `concrete_ml` or `clear`.",
    )
    deployment: Path = Field(
        default=ROOT / "deployment_files", description="Folder that `make compile` wrote."
    )
    server_host: str = Field(default="127.0.0.1", description="Where the server listens.")
    server_port: int = Field(default=8000, ge=1, le=65535, description="Port of the server.")
    server_url: str | None = Field(
        default=None,
        description="Where parties find the server; from host and port where not given.",
    )
    page_host: str = Field(default="127.0.0.1", description="Where the page listens.")
    page_port: int = Field(default=7860, ge=1, le=65535, description="Port of the page.")
    agent_port: int = Field(
        default=7861,
        ge=1,
        le=65528,
        description="Port of the first party's own page; the other parties' follow.",
    )
    server_data: Path = Field(
        default=ROOT / ".data" / "server", description="The server's database and uploads."
    )
    party_data: Path = Field(
        default=ROOT / ".data" / "parties",
        description="The parties' own files on this machine: keys and tokens, mode 0700.",
    )
    application_hours: float = Field(
        default=24.0, gt=0, le=24 * 365, description="Hours until an application is erased."
    )
    maximum_applications: int = Field(
        default=1000, ge=1, description="Applications kept at once; more are refused."
    )
    evaluation_timeout: float = Field(
        default=600.0, gt=0, description="Seconds after which an evaluation is given up."
    )
    request_timeout: float = Field(
        default=660.0, gt=0, description="Seconds a party waits for an answer of the server."
    )

    @property
    def url(self) -> str:
        """Where parties find the server, without a slash at the end."""
        return (self.server_url or f"http://{self.server_host}:{self.server_port}").rstrip("/")


@lru_cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
