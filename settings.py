"""All settings, read from the environment (prefix `TRISEAL_`) or a `.env` file only."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from utils.addresses import base_url_of, host_of, proxies_of, reachable, url_of
from utils.errors import AddressInvalid, InvalidRequest, SettingsInvalid
from utils.hosts import parse_names
from utils.witness_list import parse_witnesses

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent

PARTY = "{party}"
"""Placeholder for the party's name in `agent_url`."""

EngineName = Literal["clear", "concrete", "concrete_ml", "levelled"]


class OwnerAgent(BaseModel):
    """Where the agent of a data owner is reached, and the public key that signs its requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:\[\]-]{1,253}$")]
    port: Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """Triseal's settings; docs/SETTINGS.md is generated from their descriptions."""

    model_config = SettingsConfigDict(env_prefix="TRISEAL_", env_file=".env", extra="ignore")

    engine: EngineName = Field(
        default="levelled",
        description="Engine: `levelled` (joint keys), `concrete`, `concrete_ml` or `clear`.",
    )
    deployment: Path = Field(
        default=ROOT / "deployment_files", description="Folder written by `make compile`."
    )
    server_host: str = Field(default="127.0.0.1", description="Address the server listens on.")
    server_port: int = Field(
        default=8000, ge=1, le=65535, description="Port the server listens on."
    )
    server_url: str | None = Field(
        default=None,
        description="URL at which parties reach the server, behind a proxy its public one, which "
        "may have a path; if unset, built from host and port.",
    )
    server_ca: Path | None = Field(
        default=None,
        description="PEM file of the certification authority that signed the certificate of "
        "`server_url`, if it is a private one; no other authority is then trusted.",
    )
    page_host: str = Field(default="127.0.0.1", description="Address the page listens on.")
    page_port: int = Field(default=7860, ge=1, le=65535, description="Port the page listens on.")
    agent_port: int = Field(
        default=7861,
        ge=1,
        le=65528,
        description="Port of the first party's own page; the other parties use the next ones.",
    )
    compliance_port: int = Field(
        default=7858, ge=1, le=65535, description="Port of the compliance page."
    )
    owner_port: int = Field(
        default=7856, ge=1, le=65535, description="Port of the page of `make demo`'s data owner."
    )
    institution_port: int = Field(
        default=7857,
        ge=1,
        le=65535,
        description="Port of the page of the institution that asks that owner.",
    )
    page_url: str | None = Field(
        default=None,
        description="URL of the page behind a proxy, as browsers see it; may have a path. The "
        "page's cookie is limited to the path, and to TLS if the URL begins with `https`.",
    )
    agent_url: str | None = Field(
        default=None,
        description="Same for the parties' own pages, with `{party}` for the party's name, in "
        "which hyphens replace underscores.",
    )
    compliance_url: str | None = Field(
        default=None, description="URL of the compliance page behind a proxy; may have a path."
    )
    owner_url: str | None = Field(
        default=None, description="URL of the owner's page behind a proxy; may have a path."
    )
    institution_url: str | None = Field(
        default=None, description="URL of the institution's page behind a proxy; may have a path."
    )
    page_token: SecretStr | None = Field(
        default=None,
        min_length=22,
        description="Access token of a page, 22 characters or more; if unset, generated at start.",
    )
    agent_tokens: dict[str, SecretStr] = Field(
        default={},
        repr=False,
        description="JSON: access tokens of the parties' pages, by party; set by `make demo`.",
    )
    demonstration_token: SecretStr | None = Field(
        default=None,
        min_length=22,
        description="Token of the calls by which the stage plays an example on a party's page; "
        "without it, the agent has no such calls. Set by `make demo`.",
    )
    demonstration_tokens: dict[str, SecretStr] = Field(
        default={},
        repr=False,
        description="JSON: these tokens of all parties, for the stage; set by `make demo`.",
    )
    agent_commands: dict[str, str] = Field(
        default={},
        description="JSON: commands that start the parties' processes by hand, by party, which the "
        "stage shows; set by `make demo`.",
    )
    compliance_token: SecretStr | None = Field(
        default=None,
        min_length=22,
        description="Access token of the compliance page, to which the stage then has a link; set "
        "by `make demo`.",
    )
    consent_tokens: dict[str, SecretStr] = Field(
        default={},
        repr=False,
        description="JSON: access tokens of the `owner`'s and the `institution`'s page; set by "
        "`make demo`.",
    )
    allowed_hosts: str = Field(
        default="",
        description="Additional host names accepted by the server and the pages.",
    )
    logs: Path = Field(
        default=ROOT / ".data" / "logs",
        description="Folder of the logs of `make demo`, mode 0700.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses and networks of reverse proxies, `10.1.2.3, fd00::/64`; only from "
        "them are `X-Forwarded-For` and `X-Forwarded-Proto` believed.",
    )
    server_data: Path = Field(
        default=ROOT / ".data" / "server",
        description="Data folder of the server: SQLite database, ciphertexts, partial uploads.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL, `postgresql+psycopg://…`; if unset, SQLite in the data folder.",
    )
    blob_url: str | None = Field(
        default=None,
        description="Ciphertext store, e.g. `s3://bucket/prefix`; if unset, the data folder.",
    )
    blob_options: dict[str, Any] = Field(
        default={},
        repr=False,
        description="JSON options for fsspec's file system, e.g. an endpoint.",
    )
    witnesses: str | None = Field(
        default=None,
        description="Witnesses of new applications, `Name=key, …`; empty: none. If unset, "
        "`make demo` starts one.",
    )
    trusted_witnesses: str | None = Field(
        default=None,
        description="Witnesses without whose signatures a party opens nothing, `Name=key, …`; if "
        "unset, those that the server names.",
    )
    witness_data: Path = Field(
        default=ROOT / ".data" / "witness", description="Folder of a witness's key, mode 0700."
    )
    witness_port: int = Field(
        default=7859, ge=1, le=65535, description="Port of a witness's status page, on 127.0.0.1."
    )
    executor: Literal["local", "ray"] = Field(
        default="local", description="Where evaluations run: `local` worker processes, or `ray`."
    )
    ray_address: str | None = Field(
        default=None, description="`host:port` of the Ray cluster's head; required with `ray`."
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Concurrent evaluations: local processes, or Ray actors.",
    )
    worker_memory: int = Field(
        default=8192, ge=64, description="MiB that a worker may allocate beyond its loaded engine."
    )
    operator_token: SecretStr | None = Field(
        default=None,
        description="Token for operator calls; if unset, generated in the file `operator_token`.",
    )
    log_key: SecretStr | None = Field(
        default=None,
        description="Secret of the log, 64 hexadecimal digits, the same for all servers of one "
        "database; if unset, generated in the file `log_key`.",
    )
    cosigners: str | None = Field(
        default=None,
        description="Cosigners of the log's checkpoints, `Name=key, …`; if unset, the witnesses.",
    )
    policies: Path | None = Field(
        default=None,
        description="Folder of the policy; if unset, `policies` in the server's data folder.",
    )
    owners: dict[str, OwnerAgent] = Field(
        default={},
        description='JSON: agents of data owners by user id, `{"key", "host", "port"}`.',
    )
    party_data: Path = Field(
        default=ROOT / ".data" / "parties",
        description="Folder of the parties' own files, keys and tokens, mode 0700.",
    )
    store_passphrase: SecretStr | None = Field(
        default=None,
        description="Passphrase of the data store, for `python -m parties owner`.",
    )
    trust: Path | None = Field(
        default=None,
        description="File of the other parties' pinned identity keys, for `python -m parties`.",
    )
    application_hours: float = Field(
        default=24.0,
        gt=0,
        le=24 * 365,
        description="Hours until the server and each party erase an application.",
    )
    token_hours: float = Field(
        default=24.0,
        gt=0,
        le=24 * 365,
        description="Hours for which a token is valid before it must be renewed.",
    )
    notice_templates: Path | None = Field(
        default=None,
        description="Folder with a lender's own templates of notices, which come before those of "
        "the package.",
    )
    review_days: float = Field(
        default=30.0,
        gt=0,
        le=365,
        description="Days within which a lender owes the outcome of a review.",
    )
    maximum_applications: int = Field(
        default=1000,
        ge=1,
        description="Maximum number of stored applications; more are refused. As many again are "
        "kept for reviews of decisions.",
    )
    maximum_sessions: int = Field(
        default=1000,
        ge=1,
        description="Maximum number of open sessions between owners and institutions.",
    )
    maximum_trainings: int = Field(
        default=20,
        ge=1,
        description="Maximum number of open trainings of several lenders; each stores at most "
        "16 MiB of messages for each member.",
    )
    maximum_queued: int = Field(
        default=64, ge=1, description="Maximum number of queued runs; more are refused."
    )
    maximum_uploads: int = Field(
        default=32, ge=1, description="Maximum number of concurrent uploads; more are refused."
    )
    token_calls: int = Field(
        default=1200,
        ge=1,
        description="Calls allowed per token and minute; of the log without a token, per address.",
    )
    application_runs: int = Field(default=32, ge=1, description="Runs allowed per application.")
    application_megabytes: float = Field(
        default=512.0, gt=0, description="Megabytes that one application may send in total."
    )
    storage_megabytes: float = Field(
        default=65536.0, gt=0, description="Maximum megabytes of stored ciphertexts."
    )
    disk_reserve_megabytes: float = Field(
        default=32.0,
        ge=1,
        le=65536,
        description="Megabytes of disk kept free for erasing; with less, uploads are refused.",
    )
    evaluation_timeout: float = Field(
        default=600.0, gt=0, description="Seconds after which an evaluation is aborted."
    )
    evaluation_niceness: int = Field(
        default=15,
        ge=0,
        le=19,
        description="How far evaluations give way to other processes (Linux); 0: not at all.",
    )
    queue_timeout: float = Field(
        default=1800.0, gt=0, description="Seconds after which a queued run is abandoned."
    )
    lease_seconds: float = Field(
        default=15.0,
        ge=0.5,
        description="Seconds without a heartbeat after which another server takes over the runs.",
    )
    upload_timeout: float = Field(
        default=300.0, gt=0, description="Seconds within which an upload must finish."
    )
    stall_timeout: float = Field(
        default=20.0, gt=0, description="Seconds that an upload may go without new data."
    )
    request_timeout: float = Field(
        default=660.0, gt=0, description="Seconds that a party waits for the server's response."
    )

    @field_validator("server_host", "page_host")
    @classmethod
    def _has_host(cls, host: str) -> str:
        return _read(host_of, host)

    @field_validator("server_url", "page_url", "compliance_url", "owner_url", "institution_url")
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

    @field_validator("trusted_proxies")
    @classmethod
    def _has_proxies(cls, listed: str) -> str:
        _read(proxies_of, listed)
        return listed

    @field_validator("log_key")
    @classmethod
    def _has_secret(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(r"[0-9a-f]{64}", key.get_secret_value()):
            raise ValueError("write 64 hexadecimal digits in lower case")
        return key

    @field_validator("witnesses", "trusted_witnesses", "cosigners")
    @classmethod
    def _has_witnesses(cls, listed: str | None) -> str | None:
        _read(parse_witnesses, listed or "")
        return listed

    @property
    def url(self) -> str:
        """The URL at which parties reach the server, without a trailing slash."""
        return self.server_url or url_of(reachable(self.server_host), self.server_port)


def _read(read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except (AddressInvalid, InvalidRequest) as error:
        raise ValueError(error.message) from error


def settings_help(*names: str) -> str:
    """Return these settings with their defaults, for the help of a command."""
    lines = []
    for name in names:
        field = Settings.model_fields[name]
        default = field.default
        if isinstance(default, Path) and default.is_relative_to(ROOT):
            default = default.relative_to(ROOT)
        shown = "" if default is None else f" (default: {default})"
        lines.append(f"  TRISEAL_{name.upper()}{shown}\n      {field.description}")
    return "Settings, from the environment or the file .env (docs/SETTINGS.md has all):\n" + (
        "\n".join(lines)
    )


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
            f"These settings are not valid: {', '.join(faults)}. See docs/SETTINGS.md."
        ) from None  # the cause repeats values, which may be secrets
    except SettingsError as error:  # its message names the field and has no value
        named = re.search(r'field "(\w+)"', str(error))
        setting = f"TRISEAL_{named[1].upper()}" if named else "one of TRISEAL_*"
        raise SettingsInvalid(
            f"These settings are not valid: {setting} (not valid JSON). See docs/SETTINGS.md."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(
            "The file .env in this folder cannot be read; make it a readable text file, or remove "
            "it."
        ) from error


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ").rstrip(".")
