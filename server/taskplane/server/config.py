"""The server's settings: flags, then TASKPLANE_* variables, then DB_* variables, the first found wins."""

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
# Variables of clients, units, tests and scripts, and those that Kubernetes sets for a Service named taskplane.
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
    Endpoints(value)  # raises ValueError for an invalid entry
    return value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(read_origin(each) for each in value)


class ServerConfig(BaseSettings):
    """All settings, validated at the start. Raises pydantic.ValidationError, which names the field."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", populate_by_name=True)

    # Address of the gRPC API, as HOST:PORT; port 0 picks a free one. Flag: --grpc.
    grpc: Annotated[str, AfterValidator(_address)] = "127.0.0.1:50051"
    # Address of the REST API, as HOST:PORT; port 0 picks a free one. Flag: --http.
    http: Annotated[str, AfterValidator(_address)] = "127.0.0.1:3000"
    # Turns the REST API off. Flag: --no-http.
    no_http: bool = False
    # Database: `sqlite:///FILE` for one server and small loads; `mysql+pymysql://USER:PASSWORD@HOST:PORT/NAME` for
    # MySQL 8.0 or MariaDB 10.6 and newer. Flag: --database-url.
    database_url: Annotated[str, AfterValidator(_database_url)] = DEFAULT_DATABASE_URL
    # Migrates the schema at start. If false, an outdated schema is an error. Flag: --no-migrate.
    migrate: bool = True
    # Serves gRPC reflection, so that grpcurl needs no proto files. Flag: --no-reflection.
    reflection: bool = True
    # Serves gRPC channelz: statistics of every connection of the process, with the addresses of its peers. Flag:
    # --channelz.
    channelz: bool = False
    # Limit of watches by gRPC and HTTP together; further watches are refused. A watch takes 30 to 100 KiB while it is
    # read. Flag: --max-watches.
    max_watches: int = Field(default=2000, ge=1, le=100_000)
    # Limit of HTTP connections, watches included; lower if the limit of open files is too low. Flag:
    # --max-http-connections.
    max_http_connections: int = Field(default=3000, ge=1, le=100_000)
    # Lowest level of log lines; every change of status is one INFO line. Flag: --log-level.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    # Format of log lines on stderr: `console` for people, `json` for machines. Flag: --log-format.
    log_format: Literal["console", "json"] = "console"
    # Seconds that calls in progress may take to end when the server stops.
    drain_seconds: float = Field(default=5.0, ge=0, le=600)

    # Seconds between two signs of life of a unit.
    heartbeat_seconds: float = Field(default=5.0, gt=0, le=3600)
    # Seconds of silence after which a unit's tasks are given to other units; at least twice the heartbeat.
    lease_seconds: float = Field(default=30.0, gt=0, le=24 * 3600)
    # Seconds between two status requests to an HTTP unit that does not call back; at least four requests are made per
    # lease.
    poll_seconds: float = Field(default=5.0, gt=0, le=3600)
    # Hosts and networks (CIDR) allowed for HTTP units, separated by commas, such as `10.0.0.0/8,unit.example`. Empty:
    # all.
    allowed_endpoints: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_endpoints)] = ()
    # Host names by which the REST API may be called, separated by commas; `*` for all. Empty: on loopback, only
    # localhost, IP addresses and names without a dot; on another address, all names.
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    # Origins of web pages on other sites that may call the REST API, such as `https://ui.example.com`; `*` for all.
    allowed_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_origins)] = ()
    # Seconds that a unit may take to pause. After this time the command log marks the pause as overdue, and the pause
    # stays pending.
    pause_seconds: float = Field(default=30.0, gt=0, le=24 * 3600)
    # Seconds that a unit may take to cancel. After this time the cancel is forced.
    cancel_seconds: float = Field(default=30.0, gt=0, le=24 * 3600)
    # Days after which finished tasks are deleted, with their history, and absent units with a stream as well. 0: never.
    retention_days: float = Field(default=0.0, ge=0, le=36500)

    # Host of a MySQL database. The DB_ variables are used if no database URL is given.
    db_host: str = Field(default="", validation_alias=AliasChoices("DB_HOST"))
    # Port of that database.
    db_port: int = Field(default=3306, ge=1, le=65535, validation_alias=AliasChoices("DB_PORT"))
    # User of that database.
    db_username: str = Field(default="root", validation_alias=AliasChoices("DB_USERNAME"))
    # Password of that user.
    db_password: str = Field(default="", validation_alias=AliasChoices("DB_PASSWORD"), repr=False)
    # Name of that database.
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
    """Return a warning for each variable with the prefix that is no setting, and would be ignored."""
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
