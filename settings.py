"""Every setting, read from the environment (prefix `TRISEAL_`) or a `.env` file; no other place."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from utils.addresses import base_url_of, host_of, reachable, url_of
from utils.errors import AddressInvalid, InvalidRequest, SettingsInvalid
from utils.hosts import parse_names

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent

PARTY = "{party}"
"""In `agent_url`, the place of the party's name."""

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
    page_url: str | None = Field(
        default=None,
        description="Where browsers find the page behind a proxy; may have a path.",
    )
    agent_url: str | None = Field(
        default=None,
        description="The same for the parties' own pages; `{party}` stands for a party's name.",
    )
    page_token: SecretStr | None = Field(
        default=None,
        min_length=22,
        description="Opens a page, at least 22 characters; drawn at each start if unset.",
    )
    agent_tokens: dict[str, SecretStr] = Field(
        default={},
        repr=False,
        description="JSON for the stage: what opens each party's own page; `make demo` draws it.",
    )
    allowed_hosts: str = Field(
        default="",
        description="Names besides this machine's by which server and pages may be called.",
    )
    server_data: Path = Field(
        default=ROOT / ".data" / "server",
        description="The server's own folder: SQLite's database, ciphertexts, arriving uploads.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL, `postgresql+psycopg://…`; SQLite in the server's folder if unset.",
    )
    blob_url: str | None = Field(
        default=None,
        description="Where ciphertexts lie, such as `s3://bucket/prefix`; in the folder if unset.",
    )
    blob_options: dict[str, Any] = Field(
        default={}, repr=False, description="JSON for fsspec's file system, such as an endpoint."
    )
    executor: Literal["local", "ray"] = Field(
        default="local", description="Who evaluates: `local` worker processes, or `ray`."
    )
    ray_address: str | None = Field(
        default=None, description="Ray's cluster, `host:port` of its head; needed with `ray`."
    )
    workers: int = Field(
        default=1, ge=1, le=256, description="Evaluations at once: local processes, or Ray actors."
    )
    worker_memory: int = Field(
        default=8192, ge=64, description="MiB that a worker may take beyond its loaded engine."
    )
    operator_token: SecretStr | None = Field(
        default=None,
        description="Opens the operator's calls; if unset, drawn into the file `operator_token`.",
    )
    party_data: Path = Field(
        default=ROOT / ".data" / "parties",
        description="The parties' own files on this machine: keys and tokens, mode 0700.",
    )
    application_hours: float = Field(
        default=24.0,
        gt=0,
        le=24 * 365,
        description="Hours until the server, and each party for itself, erases an application.",
    )
    token_hours: float = Field(
        default=24.0, gt=0, le=24 * 365, description="Hours until a token must be renewed."
    )
    maximum_applications: int = Field(
        default=1000, ge=1, description="Applications kept at once; more are refused."
    )
    maximum_queued: int = Field(
        default=64, ge=1, description="Runs that wait at once; more are refused."
    )
    maximum_uploads: int = Field(
        default=32, ge=1, description="Uploads that arrive at once; more are refused."
    )
    token_calls: int = Field(
        default=1200, ge=1, description="Calls allowed to one token in a minute."
    )
    application_runs: int = Field(
        default=32, ge=1, description="Times that one application may ask for a run."
    )
    application_megabytes: float = Field(
        default=512.0, gt=0, description="Megabytes that one application may send in its time."
    )
    storage_megabytes: float = Field(
        default=65536.0, gt=0, description="Megabytes of ciphertexts kept at once."
    )
    disk_reserve_megabytes: float = Field(
        default=32.0,
        ge=1,
        le=65536,
        description="Megabytes of the disk kept for erasing; with less free, no file is taken.",
    )
    evaluation_timeout: float = Field(
        default=600.0, gt=0, description="Seconds after which an evaluation is given up."
    )
    queue_timeout: float = Field(
        default=1800.0, gt=0, description="Seconds after which a run that still waits is given up."
    )
    lease_seconds: float = Field(
        default=15.0,
        ge=0.5,
        description="Seconds of silence after which another server takes over a server's runs.",
    )
    upload_timeout: float = Field(
        default=300.0, gt=0, description="Seconds that one upload may take."
    )
    stall_timeout: float = Field(
        default=20.0, gt=0, description="Seconds that an upload may be silent."
    )
    request_timeout: float = Field(
        default=660.0, gt=0, description="Seconds a party waits for an answer of the server."
    )

    @field_validator("server_host", "page_host")
    @classmethod
    def _has_host(cls, host: str) -> str:
        return _read(host_of, host)

    @field_validator("server_url", "page_url")
    @classmethod
    def _has_url(cls, url: str | None) -> str | None:
        return None if url is None else _read(base_url_of, url)

    @field_validator("agent_url")
    @classmethod
    def _has_url_with_party(cls, url: str | None) -> str | None:
        if url is not None:
            _read(base_url_of, url.replace(PARTY, "party"))
        return url

    @field_validator("allowed_hosts")
    @classmethod
    def _has_names(cls, listed: str) -> str:
        _read(parse_names, listed)
        return listed

    @property
    def url(self) -> str:
        """Where parties find the server, without a slash at the end."""
        return self.server_url or url_of(reachable(self.server_host), self.server_port)


def _read(read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except (AddressInvalid, InvalidRequest) as error:
        raise ValueError(error.message) from error


@lru_cache
def get_settings() -> Settings:
    """Return the settings of this process, read once; raises SettingsInvalid."""
    try:
        return Settings()
    except ValidationError as error:
        faults = [
            f"TRISEAL_{str(fault['loc'][0]).upper()} ({_reason(fault['msg'])})"
            for fault in error.errors(include_input=False)
            if fault["loc"]
        ]
        raise SettingsInvalid(
            f"These settings are not valid: {', '.join(faults)}. See the README."
        ) from None  # the cause repeats values, which may be secrets
    except SettingsError as error:  # its message names the field and has no value
        raise SettingsInvalid(f"These settings are not valid: {error}. See the README.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(
            "The file .env in this folder cannot be read; make it a readable text file, or remove "
            "it."
        ) from error


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ").rstrip(".")
