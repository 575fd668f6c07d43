"""Settings, from four layers: command-line options, environment, TOML file, defaults.

Each value comes from the strongest layer that has it. What cannot be understood stops the start,
with the place, the key, the value and what is accepted instead.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, cast
from urllib.parse import urlsplit

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from hostup_mcp.hostup.http import is_loopback

_APP = "hostup-mcp"
_PREFIX = "HOSTUP_MCP__"
_SECRETS = {("hostup", "api_key")}
_KEY_MAX_BYTES = 4096

# Variables with a name of their own; the rest are HOSTUP_MCP__SECTION__KEY.
_VARIABLES = {
    "HOSTUP_API_KEY": ("hostup", "api_key"),
    "HOSTUP_API_KEY_FILE": ("hostup", "api_key_file"),
    "HOSTUP_BASE_URL": ("hostup", "base_url"),
    "HOSTUP_MCP_STATE_DIR": ("state", "dir"),
}


class ConfigError(Exception):
    """The settings cannot be used: `code`, one sentence on what is wrong, one on what to do."""

    code = "config_invalid"

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(f"{message} {advice}")
        self.message = message
        self.advice = advice


def _origin(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    bare = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    if not (secure and host and bare) or (parts.port or 1) < 1:
        raise ValueError("not an origin")
    return f"{parts.scheme}://{parts.netloc}"


def _plain_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value().strip()
    # Anything else cannot stand in a header, and the HTTP library would quote it in an error.
    if not text or not all("!" <= character <= "~" for character in text):
        raise ValueError("not a key")
    return SecretStr(text)


_Seconds = Annotated[float, Field(ge=1, le=600, description="a number of seconds from 1 to 600")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class HostUpSettings(_Section):
    """Where the API is, the key for it, and how long a request may take (seconds)."""

    base_url: Annotated[
        str,
        AfterValidator(_origin),
        Field(description="https://HOST or https://HOST:PORT, or http:// on a loopback address"),
    ] = "https://cloud.hostup.se"
    api_key: Annotated[SecretStr, AfterValidator(_plain_key)] | None = Field(
        default=None, description="a key of printable ASCII characters without blanks"
    )
    api_key_file: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the path of a file that holds the key"
    )
    connect_timeout_seconds: _Seconds = 10.0
    read_timeout_seconds: _Seconds = 30.0
    write_timeout_seconds: _Seconds = 10.0
    pool_timeout_seconds: _Seconds = 10.0
    total_timeout_seconds: _Seconds = 60.0


class ExecutionSettings(_Section):
    """How a command's result is waited for."""

    poll_first_seconds: Annotated[
        float, Field(ge=0, le=10, description="a number of seconds from 0 to 10")
    ] = 0.05
    poll_longest_seconds: Annotated[
        float, Field(ge=0.2, le=60, description="a number of seconds from 0.2 to 60")
    ] = 15.0
    lost_after_seconds: Annotated[
        float, Field(ge=1, le=3600, description="a number of seconds from 1 to 3600")
    ] = 15.0


class OutputSettings(_Section):
    """How much of a command's output is shown."""

    max_characters: Annotated[
        int, Field(ge=1000, le=200_000, description="a whole number from 1000 to 200000")
    ] = 16_000


class ServerSettings(_Section):
    """The server itself."""

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description='"debug", "info", "warning" or "error"'),
    ] = "warning"


class StateSettings(_Section):
    """Where the journal is kept."""

    dir: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the path of a folder"
    )

    @property
    def path(self) -> Path:
        """The folder; the user's own state folder unless set."""
        return Path(self.dir).expanduser() if self.dir else platformdirs.user_state_path(_APP)


class Settings(_Section):
    """Everything that can be set. Made by `load`, which resolves `hostup.api_key_file`."""

    hostup: HostUpSettings = HostUpSettings()
    execution: ExecutionSettings = ExecutionSettings()
    output: OutputSettings = OutputSettings()
    server: ServerSettings = ServerSettings()
    state: StateSettings = StateSettings()


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
    layers = [
        {key: _Value(raw=raw, place="command line") for key, raw in options.items()},
        _environment(environ),
        _file(_config_path(config_file, environ)),
    ]
    chosen: dict[tuple[str, str], _Value] = {}
    for layer in layers:
        key_is_set = ("hostup", "api_key") in chosen or ("hostup", "api_key_file") in chosen
        for key, value in layer.items():
            # A key and a key file are one setting: a stronger layer's either beats both below.
            if not (key_is_set and key[1].startswith("api_key")):
                chosen.setdefault(key, value)
    settings = _validate(chosen)
    return _with_key_file(settings, chosen)


def _config_path(option: str | None, environ: Mapping[str, str]) -> Path | None:
    named = option or environ.get("HOSTUP_MCP_CONFIG")
    if named:
        return Path(named).expanduser()
    default = platformdirs.user_config_path(_APP) / "config.toml"
    return default if default.is_file() else None


def _environment(environ: Mapping[str, str]) -> dict[tuple[str, str], _Value]:
    layer: dict[tuple[str, str], _Value] = {}
    for name, raw in environ.items():
        if name.startswith(_PREFIX):
            section, _, key = name.removeprefix(_PREFIX).lower().partition("__")
            where = (section, key)
            _require_known(where, f"environment variable {name}")
        elif name in _VARIABLES:
            where = _VARIABLES[name]
        else:
            continue
        if raw:  # hosts pass an empty string for a variable that their user left out
            layer[where] = _Value(raw=raw, place=f"environment variable {name}")
    return layer


def _file(path: Path | None) -> dict[tuple[str, str], _Value]:
    if path is None:
        return {}
    place = f"file {path}"
    try:
        document = cast("dict[str, object]", tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(
            f"{place} cannot be read ({error.strerror}).", "Give the path of a TOML file."
        ) from None
    except ValueError as error:
        raise ConfigError(
            f"{place} is not valid TOML ({error}).", "See config.example.toml for the form."
        ) from None
    layer: dict[tuple[str, str], _Value] = {}
    for section, table in document.items():
        if section not in Settings.model_fields or not isinstance(table, dict):
            raise ConfigError(
                f"{place} has {section}, which is no section.",
                f"Sections are: {', '.join(Settings.model_fields)}.",
            )
        for key, raw in cast("dict[str, object]", table).items():
            _require_known((section, key), place)
            layer[section, key] = _Value(raw=raw, place=place)
    _validate(layer, strict=True)
    return layer


def _section(name: str) -> type[BaseModel] | None:
    field = Settings.model_fields.get(name)
    return cast("type[BaseModel]", field.annotation) if field else None


def _require_known(where: tuple[str, str], place: str) -> None:
    section = _section(where[0])
    if section is None:
        raise ConfigError(
            f"{place}: there is no section {where[0]}.",
            f"Sections are: {', '.join(Settings.model_fields)}.",
        )
    if where[1] not in section.model_fields:
        raise ConfigError(
            f"{place}: section {where[0]} has no key {where[1]}.",
            f"Its keys are: {', '.join(section.model_fields)}.",
        )


def _validate(values: Mapping[tuple[str, str], _Value], *, strict: bool = False) -> Settings:
    """Settings from raw values. Strict: of the very type, as TOML has types; else from text."""
    tree: dict[str, dict[str, object]] = {}
    for (section, key), value in values.items():
        tree.setdefault(section, {})[key] = value.raw
    try:
        # JSON mode is strict about types and still reads a path or a secret from a string.
        return Settings.model_validate_json(json.dumps(tree, default=repr), strict=strict)
    except ValidationError as error:
        section, key = (str(part) for part in error.errors(include_url=False)[0]["loc"][:2])
    value = values[section, key]
    model = _section(section)
    accepted = model.model_fields[key].description if model else ""
    hidden = (section, key) in _SECRETS or "@" in str(value.raw)  # user:password@host
    shown = "(not shown)" if hidden else repr(value.raw)
    raise ConfigError(
        f"{value.place}: {section}.{key} = {shown} is not accepted.", f"Accepted: {accepted}."
    )


def _with_key_file(settings: Settings, values: Mapping[tuple[str, str], _Value]) -> Settings:
    hostup = settings.hostup
    if hostup.api_key is not None or hostup.api_key_file is None:
        return settings
    path = Path(hostup.api_key_file).expanduser()
    place = f"{values['hostup', 'api_key_file'].place}: hostup.api_key_file = {str(path)!r}"
    try:
        with path.open("rb") as file:
            content = file.read(_KEY_MAX_BYTES)
    except OSError as error:
        raise ConfigError(
            f"{place} cannot be read ({error.strerror}).", "Give the path of a file with the key."
        ) from None
    try:
        key = _plain_key(SecretStr(content.decode("ascii")))
    except ValueError:
        raise ConfigError(
            f"{place} does not hold a key.",
            "Accepted: a key of printable ASCII characters without blanks, on one line.",
        ) from None
    return settings.model_copy(update={"hostup": hostup.model_copy(update={"api_key": key})})
