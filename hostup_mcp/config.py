"""Settings, from four layers: command-line options, environment, TOML file, defaults.

Each value comes from the strongest layer that has it. What cannot be understood stops the start,
with the place, the key, the value and what is accepted instead.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, cast

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from hostup_mcp.hostup.origin import parse_origin
from hostup_mcp.http_settings import HttpSettings
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.policy.rules import PolicyError
from hostup_mcp.sections import PathText, Section, plain_key, user_path

_APP = "hostup-mcp"
_PREFIX = "HOSTUP_MCP__"
_SECRETS = {("hostup", "api_key"), ("http", "token")}
_SECRET_OR_FILE = [
    {("hostup", "api_key"), ("hostup", "api_key_file")},
    {("http", "token"), ("http", "token_file")},
]
_KEY_MAX_BYTES = 4096

# Variables with a name of their own; the rest are HOSTUP_MCP__SECTION__KEY.
_VARIABLES = {
    "HOSTUP_API_KEY": ("hostup", "api_key"),
    "HOSTUP_API_KEY_FILE": ("hostup", "api_key_file"),
    "HOSTUP_BASE_URL": ("hostup", "base_url"),
    "HOSTUP_MCP_STATE_DIR": ("state", "dir"),
    "HOSTUP_MCP_HTTP_TOKEN": ("http", "token"),
    "HOSTUP_MCP_HTTP_TOKEN_FILE": ("http", "token_file"),
}


class ConfigError(Exception):
    """The settings cannot be used: `code`, one sentence on what is wrong, one on what to do."""

    code = "config_invalid"

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(f"{message} {advice}")
        self.message = message
        self.advice = advice


_Seconds = Annotated[float, Field(ge=1, le=600, description="a number of seconds from 1 to 600")]


class HostUpSettings(Section):
    """Where the API is, the key for it, and how long a request may take (seconds)."""

    base_url: Annotated[
        str,
        AfterValidator(parse_origin),
        Field(description="https://HOST or https://HOST:PORT, or http:// on a loopback address"),
    ] = "https://cloud.hostup.se"
    api_key: Annotated[SecretStr, AfterValidator(plain_key)] | None = Field(
        default=None, description="a key of printable ASCII characters without blanks"
    )
    api_key_file: PathText | None = Field(
        default=None, description="the path of a file that holds the key"
    )
    connect_timeout_seconds: _Seconds = 10.0
    read_timeout_seconds: _Seconds = 30.0
    write_timeout_seconds: _Seconds = 10.0
    pool_timeout_seconds: _Seconds = 10.0
    total_timeout_seconds: _Seconds = 60.0


class ExecutionSettings(Section):
    """How a command's result is waited for."""

    poll_first_seconds: Annotated[
        float, Field(ge=0, le=10, description="a number of seconds from 0 to 10")
    ] = 0.022
    poll_longest_seconds: Annotated[
        float, Field(ge=0.2, le=60, description="a number of seconds from 0.2 to 60")
    ] = 28.3
    retry_after_longest_seconds: Annotated[
        float, Field(ge=1, le=86400, description="a number of seconds from 1 to 86400")
    ] = 900.0
    lost_after_seconds: Annotated[
        float, Field(ge=1, le=3600, description="a number of seconds from 1 to 3600")
    ] = 15.0
    start_retry_seconds: Annotated[
        float, Field(ge=0, le=600, description="a number of seconds from 0 to 600")
    ] = 30.0
    reap_seconds: Annotated[
        float, Field(ge=0, le=2_592_000, description="a number of seconds from 0 to 2592000")
    ] = 86_400.0
    repeat_window_seconds: Annotated[
        float, Field(ge=0, le=86_400, description="a number of seconds from 0 to 86400")
    ] = 900.0
    commands_at_once: Annotated[
        int, Field(ge=1, le=10_000, description="a whole number from 1 to 10000")
    ] = 256
    requests_per_second: Annotated[
        float, Field(gt=0, le=1000, description="a number up to 1000")
    ] = 9.5


class OutputSettings(Section):
    """How much of a command's output is shown, and in what state it is kept."""

    window_bytes: Annotated[
        int, Field(ge=1024, le=65_536, description="a whole number from 1024 to 65536")
    ] = 16_384
    keep_raw: Annotated[bool, Field(description="true or false")] = False


class ServerSettings(Section):
    """The server itself."""

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description='"debug", "info", "warning" or "error"'),
    ] = "warning"
    client_timeout_seconds: (
        Annotated[float, Field(ge=2, le=3600, description="a number of seconds from 2 to 3600")]
        | None
    ) = Field(default=None, description="a number of seconds from 2 to 3600")


class StateSettings(Section):
    """Where the journal is kept, and how much of it."""

    dir: PathText | None = Field(default=None, description="the path of a folder")
    keep_days: Annotated[
        float, Field(ge=0.01, le=3650, description="a number of days from 0.01 to 3650")
    ] = 30.0
    keep_mebibytes: Annotated[
        float, Field(ge=1, le=102_400, description="a number from 1 to 102400")
    ] = 256.0

    @property
    def path(self) -> Path:
        """The folder; the user's own state folder unless set."""
        return Path(self.dir) if self.dir else platformdirs.user_state_path(_APP)


class Settings(Section):
    """Everything that can be set. Made by `load`, which resolves `hostup.api_key_file`."""

    hostup: HostUpSettings = HostUpSettings()
    execution: ExecutionSettings = ExecutionSettings()
    output: OutputSettings = OutputSettings()
    server: ServerSettings = ServerSettings()
    http: HttpSettings = HttpSettings()
    state: StateSettings = StateSettings()
    policy: PolicyData = PolicyData()


class _Value(BaseModel):
    """A raw value and the place it stands in, for errors."""

    model_config = ConfigDict(frozen=True)

    raw: object
    place: str


def load(
    options: Mapping[tuple[str, str], str],
    environ: Mapping[str, str] = os.environ,
    config_file: str | None = None,
) -> Settings:
    """The settings of this start.

    Args:
        options: values of command-line options by section and key.
        environ: the environment.
        config_file: path given on the command line; else `HOSTUP_MCP_CONFIG`; else
            `config.toml` in the user's configuration folder, if it is there.

    Raises:
        ConfigError: for the first thing that cannot be understood.
    """
    for (section, key), raw in options.items():
        _require_text(raw, f"command line: {section}.{key}")
    layers = [
        {key: _Value(raw=raw, place="command line") for key, raw in options.items()},
        _environment(environ),
        _file(config_path(config_file, environ)),
    ]
    chosen: dict[tuple[str, str], _Value] = {}
    for layer in layers:
        # A secret and its file are one setting: a stronger layer's either beats both below.
        decided = {key for pair in _SECRET_OR_FILE if pair & chosen.keys() for key in pair}
        for key, value in layer.items():
            if key not in decided:
                chosen.setdefault(key, value)
    settings = _validate(chosen)
    preset = chosen.get(("policy", "preset"))
    if settings.policy.preset == "unrestricted" and preset and not preset.place.startswith("file "):
        raise ConfigError(
            f"{preset.place}: policy.preset = 'unrestricted' is accepted in the file only.",
            "Write it under [policy] in the configuration file, if it is really meant.",
        )
    return _with_key_file(settings, chosen)


def load_policies(settings: Settings) -> Policies:
    """The policies of these settings, compiled and checked.

    Raises:
        ConfigError: for the first rule or type that cannot be used.
    """
    try:
        return Policies(settings.policy)
    except PolicyError as error:
        raise ConfigError(f"configuration: {error.where}: {error.message}", error.advice) from None


def config_path(option: str | None, environ: Mapping[str, str]) -> Path | None:
    """The file given, that of `HOSTUP_MCP_CONFIG`, the user's own, or none, in that order."""
    named = environ.get("HOSTUP_MCP_CONFIG") if option is None else option
    if named or option is not None:
        try:
            return Path(user_path(named or ""))
        except ValueError:
            raise ConfigError(
                f"{named!a} is not the path of a configuration file.", "Give another path."
            ) from None
    default = platformdirs.user_config_path(_APP) / "config.toml"
    return default if default.is_file() else None


def _environment(environ: Mapping[str, str]) -> dict[tuple[str, str], _Value]:
    layer: dict[tuple[str, str], _Value] = {}
    for name, raw in environ.items():
        if name.startswith(_PREFIX):
            section, _, key = name.removeprefix(_PREFIX).lower().partition("__")
            where = (section, key)
            _require_known(where, f"environment variable {name}", raw)
        elif name in _VARIABLES:
            where = _VARIABLES[name]
        else:
            continue
        if not raw:
            continue  # hosts pass an empty string for a variable that their user left out
        _require_text(raw, f"environment variable {name}")
        layer[where] = _Value(raw=raw, place=f"environment variable {name}")
    return layer


def _require_text(raw: str, place: str) -> None:
    """Refuse bytes that are no UTF-8; the system hands them over as lone surrogates."""
    try:
        raw.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{place} is not valid UTF-8 (value not shown).", "Write it again, as plain text."
        ) from None


def _file(path: Path | None) -> dict[tuple[str, str], _Value]:
    if path is None:
        return {}
    place = f"file {path}"
    try:
        document = cast("dict[str, object]", tomllib.loads(path.read_text("utf-8-sig")))
    except OSError as error:
        raise ConfigError(
            f"{place} cannot be read ({error.strerror}).", "Give the path of a TOML file."
        ) from None
    except ValueError as error:
        raise ConfigError(
            f"{place} is not valid TOML ({error}).", "See config.example.toml for the form."
        ) from None
    except RecursionError:
        raise ConfigError(
            f"{place} is not valid TOML (too deep).", "See config.example.toml for the form."
        ) from None
    layer: dict[tuple[str, str], _Value] = {}
    for section, table in document.items():
        if not isinstance(table, dict):
            raise ConfigError(
                f"{place}: {section} = {table!r} stands outside a section.",
                f"Sections are: {', '.join(f'[{name}]' for name in Settings.model_fields)}.",
            )
        for key, raw in cast("dict[str, object]", table).items():
            _require_known((section, key), place, raw)
            layer[section, key] = _Value(raw=raw, place=place)
        _section_or_stop(section, place)
    _validate(layer, strict=True)
    return layer


def _section(name: str) -> type[BaseModel] | None:
    field = Settings.model_fields.get(name)
    return cast("type[BaseModel]", field.annotation) if field else None


def _section_or_stop(name: str, place: str) -> type[BaseModel]:
    section = _section(name)
    if section is None:
        raise ConfigError(
            f"{place}: there is no section {name!a}.",
            f"Sections are: {', '.join(Settings.model_fields)}.",
        )
    return section


def _require_known(where: tuple[str, str], place: str, raw: object) -> None:
    section = _section_or_stop(where[0], place)
    if where[1] not in section.model_fields:
        # A misspelled name may hold what was meant as a secret.
        hidden = any(word in where[1].lower() for word in ("key", "token", "secret", "pass"))
        shown = "not shown" if hidden else ascii(raw)
        raise ConfigError(
            f"{place}: section {where[0]} has no key {where[1]!a} (value: {shown}).",
            f"Its keys are: {', '.join(section.model_fields)}.",
        )


def _validate(values: Mapping[tuple[str, str], _Value], *, strict: bool = False) -> Settings:
    """Settings from raw values. Strict: of the very type, as TOML has types; else from text."""
    tree: dict[str, dict[str, object]] = {}
    for (section, key), value in values.items():
        tree.setdefault(section, {})[key] = value.raw
    try:
        # JSON mode is strict about types and still reads a secret from a string. TOML's dates
        # have no JSON form; an empty object stands for them, which no setting accepts.
        return Settings.model_validate_json(json.dumps(tree, default=lambda _: {}), strict=strict)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    section, key = (str(part) for part in first["loc"][:2])
    if section == "policy" and len(first["loc"]) > 2:
        raise _nested_error(values[section, key].place, first["loc"], first["msg"])
    value = values[section, key]
    model = _section(section)
    accepted = model.model_fields[key].description if model else ""
    hidden = (section, key) in _SECRETS or "@" in str(value.raw)  # user:password@host
    shown = "(not shown)" if hidden else ascii(value.raw)
    raise ConfigError(
        f"{value.place}: {section}.{key} = {shown} is not accepted.", f"Accepted: {accepted}."
    )


_PLAIN_WORDS: Mapping[str, str] = {
    "valid array": "list",
    "valid tuple": "list",
    "valid dictionary or instance of": "table, for",
    "valid dictionary": "table",
    "valid string": "text",
    "valid boolean": "true or false",
    "Extra inputs are not permitted": "there is no such key",
    "Field required": "it must be given",
    "Tuple": "the list",
    " after validation": "",
    "Input": "it",
}


def _nested_error(place: str, loc: Sequence[int | str], message: str) -> ConfigError:
    """What is wrong inside a table of the policy; the value itself may be long."""
    for technical, plain in _PLAIN_WORDS.items():
        message = message.replace(technical, plain)
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return ConfigError(
        f"{place}: {where.removeprefix('.')} is not accepted: {message[:1].lower()}{message[1:]}.",
        "docs/policy.md has the form of rules, types and policies of single VPSs.",
    )


def _with_key_file(settings: Settings, values: Mapping[tuple[str, str], _Value]) -> Settings:
    hostup = settings.hostup
    if hostup.api_key is not None or hostup.api_key_file is None:
        return settings
    path = Path(hostup.api_key_file)
    place = f"{values['hostup', 'api_key_file'].place}: hostup.api_key_file = {str(path)!r}"
    try:
        with path.open("rb") as file:
            content = file.read(_KEY_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{place} cannot be read ({error.strerror}).", "Give the path of a file with the key."
        ) from None
    try:
        if len(content) > _KEY_MAX_BYTES:
            raise ValueError("too long")  # noqa: TRY301
        key = plain_key(SecretStr(content.decode("ascii")))
    except ValueError:
        raise ConfigError(
            f"{place} does not hold a key.",
            "Accepted: a key of printable ASCII characters without blanks, on one line.",
        ) from None
    return settings.model_copy(update={"hostup": hostup.model_copy(update={"api_key": key})})
