"""The server's settings: flags first, then TASKPLANE_* variables, then the requirements' DB_* variables."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Literal
from urllib.parse import quote, quote_plus

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from taskplane.server.core.endpoint import Endpoints
from taskplane.server.core.origin import read_origin

DEFAULT_DATABASE_URL = "sqlite:///taskplane.db"
_PREFIX = "TASKPLANE_"
# Of the client and the units, of tests and scripts, and what Kubernetes sets for a Service that is called taskplane.
_OTHER_VARIABLES = re.compile(
    r"TASKPLANE_(SERVER|TEST_.*|MYSQL_.*|ROBUSTNESS_.*|SERVICE_(HOST|PORT)(_.*)?|PORT(_[0-9]+_(TCP|UDP|SCTP).*)?)$"
)
_SCHEMES = ("sqlite:///", "mysql+pymysql://", "mariadb+pymysql://")


def _address(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if not (separator and host and port.isdigit() and int(port) <= 65535):  # noqa: PLR2004  (the greatest port)
        raise ValueError(f"{value!r} is not HOST:PORT, such as 127.0.0.1:50051 (port 0 picks a free one)")
    return value


def _database_url(value: str) -> str:
    for plain in ("mysql://", "mariadb://"):
        value = value.replace(plain, plain.replace("://", "+pymysql://"), 1) if value.startswith(plain) else value
    if not value.startswith(_SCHEMES):
        known = "sqlite:///path/to/file.db or mysql+pymysql://user:password@host:3306/name"
        raise ValueError(f"{masked(value)!r} is not a database URL that is served here: use {known}")
    return value


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _endpoints(value: tuple[str, ...]) -> tuple[str, ...]:
    Endpoints(value)  # raises ValueError for what is neither a host nor a network
    return value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(read_origin(each) for each in value)


class ServerConfig(BaseSettings):
    """All settings; each is checked when the server starts. Raises pydantic.ValidationError, which names the field."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", populate_by_name=True)

    # Where gRPC listens.
    grpc: Annotated[str, AfterValidator(_address)] = "127.0.0.1:50051"
    # Where HTTP listens, and whether it does at all.
    http: Annotated[str, AfterValidator(_address)] = "127.0.0.1:3000"
    no_http: bool = False
    # SQLite for one server and small use, MySQL 8+ or MariaDB 10.6+ for real use.
    database_url: Annotated[str, AfterValidator(_database_url)] = DEFAULT_DATABASE_URL
    # Bring the database to this version's schema at start. Without it, a database that is behind is an error.
    migrate: bool = True
    # gRPC server reflection, so that grpcurl works without proto files.
    reflection: bool = True
    # gRPC channelz: figures of every connection of the process, with the addresses of its peers.
    channelz: bool = False
    # Watches by gRPC and HTTP together; more are refused. One takes 30 to 100 KiB while it is read.
    max_watches: int = Field(default=2000, ge=1, le=100_000)
    # HTTP connections, watches included; fewer where the limit of open files does not allow as many.
    max_http_connections: int = Field(default=3000, ge=1, le=100_000)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] = "console"
    # How long calls under way may take to end when the server stops.
    drain_seconds: float = Field(default=5.0, ge=0, le=600)

    # How often a unit is to be heard, and how long it may be silent before its tasks are given away.
    heartbeat_seconds: float = Field(default=5.0, gt=0, le=3600)
    lease_seconds: float = Field(default=30.0, gt=0, le=24 * 3600)
    # How often a unit that is driven over HTTP is asked about what it does and does not call back about; at least four
    # times a lease, whatever is set here.
    poll_seconds: float = Field(default=5.0, gt=0, le=3600)
    # Where such units may be: host names and networks (CIDR), separated by commas; empty allows all.
    allowed_endpoints: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_endpoints)] = ()
    # Names by which HTTP may be called, and origins of web pages elsewhere that may call it; "*" allows all. Without
    # names, a server on loopback is called localhost or by an address, and any other one as its callers like.
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    allowed_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_origins)] = ()
    # How long a unit may take for a pause (then it is reported as overdue) and a cancel (then it is forced).
    pause_seconds: float = Field(default=30.0, gt=0, le=24 * 3600)
    cancel_seconds: float = Field(default=30.0, gt=0, le=24 * 3600)
    # Finished tasks are deleted, with their history, after so many days, and units that have been away for as long; 0
    # keeps them for ever.
    retention_days: float = Field(default=0.0, ge=0, le=36500)

    # The requirements' way to name a MySQL database. They count if no URL is given.
    db_host: str = Field(default="", validation_alias=AliasChoices("DB_HOST"))
    db_port: int = Field(default=3306, ge=1, le=65535, validation_alias=AliasChoices("DB_PORT"))
    db_username: str = Field(default="root", validation_alias=AliasChoices("DB_USERNAME"))
    db_password: str = Field(default="", validation_alias=AliasChoices("DB_PASSWORD"), repr=False)
    db_database: str = Field(default="task_management", validation_alias=AliasChoices("DB_DATABASE"))

    @model_validator(mode="after")
    def _lease_outlasts_heartbeats(self) -> "ServerConfig":
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                f"lease_seconds ({self.lease_seconds:g}) must be at least twice heartbeat_seconds "
                f"({self.heartbeat_seconds:g}), so that one lost heartbeat costs nothing"
            )
        return self

    @model_validator(mode="after")
    def _from_db_variables(self) -> "ServerConfig":
        if self.db_host and "database_url" not in self.model_fields_set:
            user, password = quote_plus(self.db_username), quote_plus(self.db_password)
            server = f"{user}:{password}@{self.db_host}:{self.db_port}"
            self.database_url = f"mysql+pymysql://{server}/{quote(self.db_database)}"
        return self

    def described(self) -> str:
        """Return the settings in one line, without secrets."""
        hidden = {name for name in type(self).model_fields if name.startswith("db_")}
        shown = self.model_dump(exclude=hidden) | {"database_url": masked(self.database_url)}
        return " ".join(f"{name}={value}" for name, value in shown.items())


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Return a warning for each variable that looks like a setting and is none: it would be passed over in silence."""
    fields = [name.upper() for name in ServerConfig.model_fields]
    known = {name: name if name.startswith("DB_") else f"{_PREFIX}{name}" for name in fields}
    warnings = []
    for variable in sorted(environment):
        name = variable.upper()
        if name.startswith(_PREFIX) and name not in known.values() and not _OTHER_VARIABLES.match(name):
            nearest = get_close_matches(name.removeprefix(_PREFIX), known, n=1)
            warnings.append(f"{variable} is no setting" + (f"; is {known[nearest[0]]} meant?" if nearest else ""))
    return warnings


def masked(url: str) -> str:
    """Return a database URL without its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
