"""Settings: environment ``CASTSTREAM_*``, then ``./caststream.toml``, then defaults, in one frozen object.

`load_settings` is the way in: it refuses wrong or unknown settings in one line that says where each came from.
"""

from __future__ import annotations

import os
import re
import ssl
import tomllib
import types
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from core.errors import StartupError
from core.nearest import did_you_mean
from core.tasks.declaration import Declaration
from core.tasks.sizes import LARGEST_STATE_BYTES, STATE_BYTES
from stream_app.declared import read_tasks, task_names
from stream_app.tokens import TokenSource, read_secret

PREFIX = "CASTSTREAM_"
TOML_FILE = "caststream.toml"
DEFAULT_DATA_DIR = Path("~/.local/share/caststream")

# What Kubernetes tells a pod of the services around it.
_LINK = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)
_LINK_NAME = re.compile(r"(^|_)(service_(host|port(_\w+)?)|port_\d+_(tcp|udp|sctp)(_(proto|port|addr))?)$")
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")


def _check_broker(value: str) -> str:
    for address in value.split(","):
        match = _HOST_PORT.fullmatch(address.strip())
        if not match or not 1 <= int(match[2]) <= 65535:
            raise ValueError(f"{address!r} is not host:port")
    return ",".join(address.strip() for address in value.split(","))


def _empty_is_none(value: object) -> object:
    # The environment cannot say None; an empty variable does (`Settings.environment` writes it).
    return None if value == "" else value


def _not_empty(value: object) -> object:
    # Path("") is the current directory, which nobody means.
    if value == "":
        raise ValueError("is empty")
    return value


class NoHomeError(ValueError):
    """A path begins with ~, and the user has no home directory: in a container any number may run a process."""


def _expand_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise NoHomeError(f"there is no home directory for {path.parts[0]}") from error


def _expand_data_dir(path: Path) -> Path:
    # Most commands write nothing there: those that do call `need_data_dir`.
    try:
        return _expand_home(path)
    except NoHomeError:
        if path == DEFAULT_DATA_DIR:
            return path
        raise


def _check_tasks(value: str) -> str:
    return ",".join(str(_expand_home(Path(name))) for name in task_names(value))


def _accepts(text: str) -> Any:
    """Words for the error message, where the type and its bounds do not say it."""
    return Field(json_schema_extra={"accepted": text})


_NAME_CHARACTERS = "letters, digits, '.', '_' and '-'"
Broker = Annotated[str, AfterValidator(_check_broker), _accepts("host:port, several separated by commas")]
AppId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,150}$"), _accepts(f"1 to 150 {_NAME_CHARACTERS}")]
TopicPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,100}$"), _accepts(f"up to 100 {_NAME_CHARACTERS}")]
DeviceSetting = Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]{1,2})?)$"), _accepts("cpu, cuda or cuda:N")]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,255}$"), _accepts("a host name or an address")]
Directory = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_expand_data_dir), _accepts("a path")]
OptionalPath = Annotated[
    Annotated[Path, AfterValidator(_expand_home)] | None, BeforeValidator(_empty_is_none), _accepts("a path")
]
Tasks = Annotated[
    str,
    AfterValidator(_check_tasks),
    _accepts("names of tasks that ship and task files, separated by commas"),
]
Password = Annotated[SecretStr, _accepts("a password")]
Seconds = Annotated[float, Field(allow_inf_nan=False)]


class Settings(BaseModel):
    """Every setting of caststream. Durations are seconds. Frozen: `replace` makes a changed copy."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,  # pydantic's text would show every value, passwords too, in a traceback
    )

    broker: Broker = "127.0.0.1:9092"
    app_id: AppId = "caststream"
    topic_prefix: TopicPrefix = ""
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    replication_factor: Annotated[int, Field(ge=1, le=100)] = 1

    processing_guarantee: Literal["at_least_once", "exactly_once"] = "at_least_once"
    commit_interval: Annotated[Seconds, Field(ge=0.01, le=60)] = 0.5
    max_commit_interval: Annotated[Seconds, Field(ge=0.01, le=300)] = 5.0
    max_delay: Annotated[Seconds, Field(ge=0, le=1)] = 0.006
    # Brokers refuse less than group.min.session.timeout.ms: 6 s unless configured, 1 s on the local broker.
    session_timeout: Annotated[Seconds, Field(ge=1, le=1800)] = 6.0
    output_format: Literal["json", "msgpack"] = "json"

    tasks: Tasks = "signal,casting"
    signal_checkpoint: OptionalPath = None  # None: the one that ships with the package
    defect_checkpoint: OptionalPath = None
    device: DeviceSetting = "cpu"

    window_length: Annotated[int, Field(ge=100, le=500)] = 500
    window_min: Annotated[int, Field(ge=1, le=500)] = 100
    hop: Annotated[int, Field(ge=1, le=500)] = 30
    gap_policy: Literal["step", "hold", "reset"] = "step"
    max_gap: Annotated[int, Field(ge=0, le=10_000)] = 50
    max_step_jump: Annotated[int, Field(ge=1, le=2**53 - 1)] = 1_000_000
    idle_timeout: Annotated[Seconds, Field(ge=0.1, le=31_536_000)] = 300.0
    max_state_bytes: Annotated[int, Field(ge=1, le=LARGEST_STATE_BYTES)] = STATE_BYTES

    metrics_host: Host = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 8300  # 0: any free port
    data_dir: Directory = DEFAULT_DATA_DIR
    log_format: Literal["text", "json"] = "text"

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ssl_cafile: OptionalPath = None
    ssl_certfile: OptionalPath = None
    ssl_keyfile: OptionalPath = None
    ssl_password: Password = SecretStr("")
    ssl_password_file: OptionalPath = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    sasl_username: Annotated[str, _accepts("a user name")] = ""
    sasl_password: Password = SecretStr("")
    sasl_password_file: OptionalPath = None
    sasl_oauth_token_file: OptionalPath = None
    sasl_oauth_token_command: Annotated[str, _accepts("a command line")] = ""

    _declared: tuple[Declaration, ...] = PrivateAttr(())

    def __init__(self, **values: Any) -> None:
        """Arguments win over the environment, the environment over the file."""
        super().__init__(**{**_in_file(), **_in_environment(), **values})

    @model_validator(mode="after")
    def _lengths_fit_together(self) -> Self:
        if self.window_min > self.window_length:
            raise ValueError(f"window_min {self.window_min} is above window_length {self.window_length}")
        if self.max_commit_interval < self.commit_interval:
            raise ValueError(
                f"max_commit_interval {self.max_commit_interval} is below commit_interval {self.commit_interval}"
            )
        return self

    @model_validator(mode="after")
    def _credentials_fit_together(self) -> Self:
        for name in ("ssl_password", "sasl_password"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise ValueError(f"{name} and {name}_file are both given: leave out one of them")
        self.read_ssl_password()  # a file that cannot be read is told now
        sasl_password = self.read_sasl_password()
        self._check_tokens()
        needs_password = self.security_protocol.startswith("SASL") and not self.uses_tokens
        if needs_password and not (self.sasl_username and sasl_password):
            raise ValueError(
                f"security_protocol {self.security_protocol} needs sasl_username and a password: sasl_password or "
                "sasl_password_file"
            )
        if bool(self.ssl_certfile) != bool(self.ssl_keyfile):
            raise ValueError("ssl_certfile and ssl_keyfile go together: one of them is missing")
        return self

    def _check_tokens(self) -> None:
        given = bool(self.sasl_oauth_token_file) + bool(self.sasl_oauth_token_command)
        if given == 2:
            raise ValueError("sasl_oauth_token_file and sasl_oauth_token_command are both given: leave out one of them")
        if given and self.sasl_mechanism != "OAUTHBEARER":
            raise ValueError(f"sasl_mechanism {self.sasl_mechanism} takes no token: set it to OAUTHBEARER")
        if not given and self.uses_tokens:
            raise ValueError("sasl_mechanism OAUTHBEARER needs sasl_oauth_token_file or sasl_oauth_token_command")

    @property
    def uses_tokens(self) -> bool:
        """True if we tell the broker who we are by a token, without user and password."""
        return self.security_protocol.startswith("SASL") and self.sasl_mechanism == "OAUTHBEARER"

    @property
    def kafka_user(self) -> str:
        """The user that the broker knows us by, in words for a message."""
        named = self.sasl_username and self.security_protocol.startswith("SASL") and not self.uses_tokens
        return f"the Kafka user {self.sasl_username!r}" if named else "the Kafka user"

    def tokens(self) -> TokenSource:
        """The source of our tokens; one for all clients of these settings."""
        return _token_source(self.sasl_oauth_token_file, self.sasl_oauth_token_command)

    @property
    def checks_dir(self) -> Path | None:
        """The folder where findings about models are kept; None: there is no home directory for it."""
        return None if self.data_dir.parts[:1] == ("~",) else self.data_dir / "checks"

    def need_data_dir(self) -> Path:
        """`data_dir`, for a command that writes there.

        Raises:
            StartupError: it was not given, and there is no home directory for the default.
        """
        if self.data_dir.parts[0] == "~":
            raise StartupError(
                f"setting data_dir: there is no home directory for ~ in {self.data_dir}; "
                f"name a directory with {PREFIX}DATA_DIR or --data-dir"
            )
        return self.data_dir

    def __eq__(self, other: object) -> bool:
        """Equal values make equal settings, whether their tasks have been read or not."""
        return isinstance(other, Settings) and dict(self) == dict(other)

    def declarations(self) -> tuple[Declaration, ...]:
        """The tasks, read once: a file that changes under a running worker changes nothing in it.

        Raises:
            StartupError: there is no such task, a file cannot be used, or two tasks share a name on the broker.
        """
        if not self._declared:
            self._declared = read_tasks(self.tasks)
        return self._declared

    def topic(self, name: str) -> str:
        """The name on the broker of a source or output topic."""
        return self.topic_prefix + name

    def changelog(self, table: str) -> str:
        """The name on the broker of a table's changelog topic; the application id makes it unique, not the prefix."""
        return f"{self.app_id}-{table}-changelog"

    def read_ssl_password(self) -> str:
        """The password of our private key, read again where it stands in a file; "" where it has none.

        Raises:
            StartupError: its file cannot be read.
        """
        return _read_password("ssl_password_file", self.ssl_password_file, self.ssl_password)

    def read_sasl_password(self) -> str:
        """The password at the broker, read again where it stands in a file.

        Raises:
            StartupError: its file cannot be read.
        """
        return _read_password("sasl_password_file", self.sasl_password_file, self.sasl_password)

    def client_config(self) -> dict[str, Any]:
        """librdkafka's configuration of where the broker is and how to speak to it, to be completed by the caller.

        Raises:
            StartupError: a password file cannot be read, or no token be had.
        """
        config: dict[str, Any] = {"bootstrap.servers": self.broker, "security.protocol": self.security_protocol}
        if self.security_protocol.endswith("SSL"):
            files = {
                "ssl.ca.location": self.ssl_cafile,
                "ssl.certificate.location": self.ssl_certfile,
                "ssl.key.location": self.ssl_keyfile,
            }
            config |= {name: str(path) for name, path in files.items() if path}
            config["ssl.endpoint.identification.algorithm"] = "https"  # the host's name is checked, as aiokafka does
            if not self.ssl_cafile and (authorities := _system_authorities()):
                config["ssl.ca.location"] = authorities
            if self.ssl_keyfile and (password := self.read_ssl_password()):
                config["ssl.key.password"] = password
        if self.uses_tokens:
            self.tokens().token()  # what is wrong with it is told here in a line; librdkafka would try for ever
            config |= {"sasl.mechanism": self.sasl_mechanism, "oauth_cb": self.tokens().for_librdkafka}
        elif self.security_protocol.startswith("SASL"):
            config |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.sasl_username,
                "sasl.password": self.read_sasl_password(),
            }
        return config

    def replace(self, **changes: Any) -> Settings:
        """A copy with some values changed, validated again; the environment and the file are not read again.

        Raises:
            StartupError: a changed value is not accepted, or a password file can no longer be read.
        """
        return _build({**dict(self), **changes}, named=changes)

    def environment(self) -> dict[str, str]:
        """All settings as environment variables (the password in clear): a child process loads the same settings."""
        return {f"{PREFIX}{name.upper()}": _as_variable(value) for name, value in self}

    def process_environment(self) -> dict[str, str]:
        """The whole environment of a child process that is to have these settings: ours, with them and no others."""
        return foreign_environment() | self.environment()


def _in_file() -> dict[str, Any]:
    path = Path(TOML_FILE)
    return tomllib.loads(path.read_bytes().decode()) if path.is_file() else {}


def _in_environment() -> dict[str, str]:
    """The variables that are named like settings, in capital letters or small ones."""
    ours = {variable.lower(): value for variable, value in os.environ.items() if variable.upper().startswith(PREFIX)}
    names = {variable.removeprefix(PREFIX.lower()): value for variable, value in ours.items()}
    return {name: value for name, value in names.items() if name in Settings.model_fields}


def load_settings(**overrides: Any) -> Settings:
    """Read the settings once.

    Args:
        overrides: values by name, stronger than the environment and the file; None means not given.

    Raises:
        StartupError: a value is not accepted or a name is unknown, in whichever place; the message names the
            setting, the value, what is accepted, and where the value was found.
    """
    _refuse_unknown(os.environ)
    return _build({name: value for name, value in overrides.items() if value is not None}, named=overrides)


def foreign_environment() -> dict[str, str]:
    """Return our environment without the variables of caststream."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}


def accepted(name: str) -> str:
    """Say in words which values the setting ``name`` accepts."""
    field = Settings.model_fields[name]
    if isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["accepted"])
    kind = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    low = next(bound.ge for bound in field.metadata if hasattr(bound, "ge"))
    high = next(bound.le for bound in field.metadata if hasattr(bound, "le"))
    return f"{'an integer' if kind is int else 'a number'} from {low} to {high}"


def _build(values: Mapping[str, Any], named: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        raise StartupError("; ".join(_explain(detail, named) for detail in error.errors())) from error
    except tomllib.TOMLDecodeError as error:
        raise StartupError(f"{TOML_FILE}: not a TOML file: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"{TOML_FILE}: cannot be read: {error}") from error


def _explain(detail: ErrorDetails, named: Mapping[str, Any]) -> str:
    if not detail["loc"]:
        return f"settings: {detail['ctx']['error']}"
    name = str(detail["loc"][0])
    source = _source(name, named)
    if detail["type"] == "extra_forbidden":
        return f"unknown setting {name!r}{source}{_nearest(name)}"
    secret = Settings.model_fields[name].annotation is SecretStr
    value = "the value" if secret else repr(detail["input"])
    if isinstance(reason := detail.get("ctx", {}).get("error"), NoHomeError):
        return f"setting {name}: {str(detail['input'])!r} is not accepted{source}: {reason}; name the whole path"
    hint = "" if secret or name in named else _service_link(name, str(detail["input"]))
    return f"setting {name}: {value} is not accepted{source}; accepted: {accepted(name)}{hint}"


def _read_password(name: str, path: Path | None, given: SecretStr) -> str:
    if path is None:
        return given.get_secret_value()
    # Editors and `echo` end a file with a newline that is no part of the password.
    return read_secret(path, f"{name} {path}").removesuffix("\n").removesuffix("\r")


@lru_cache(maxsize=16)
def _token_source(file: Path | None, command: str) -> TokenSource:
    return TokenSource(file, command)


def _system_authorities() -> str | None:
    """Return the place where Python's TLS finds the authorities: librdkafka would look in other places."""
    places = ssl.get_default_verify_paths()
    return places.cafile or places.capath


def _source(name: str, named: Mapping[str, Any]) -> str:
    if name in named:
        return ""  # the caller has just written it
    if any(variable.upper() == f"{PREFIX}{name.upper()}" for variable in os.environ):
        return f" (environment variable {PREFIX}{name.upper()})"
    return f" (file {TOML_FILE})" if Path(TOML_FILE).is_file() else ""


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    for variable, value in environment.items():
        if variable.upper().startswith(PREFIX):
            name = variable[len(PREFIX) :].lower()
            if name not in Settings.model_fields:
                hint = _service_link(name, value) or _nearest(name)
                raise StartupError(f"unknown setting {name!r} (environment variable {variable}){hint}")


def _service_link(name: str, value: str) -> str:
    """A hint where Kubernetes has written a variable, for a service whose name begins with caststream."""
    if not (_LINK.match(value) or _LINK_NAME.search(name)):
        return ""
    return (
        ": Kubernetes writes such variables for a service of that name; set enableServiceLinks: false in the pod, or "
        "name the service otherwise"
    )


def _nearest(name: str) -> str:
    return did_you_mean(name, sorted(Settings.model_fields), "the settings")


def _as_variable(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return "" if value is None else str(value)
