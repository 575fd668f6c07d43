"""Loads the settings from four layers: command-line options, environment, TOML file, defaults.

Each value comes from the first of these layers that has it. A value that is not accepted stops the
start; the error names its place, its key and what is accepted. No message repeats a text that was
given as a value: it may be a secret, even under a key that holds none.
"""

from __future__ import annotations

import functools
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import platformdirs
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from hostup_mcp.config.key_faults import key_fault
from hostup_mcp.config.sections import (
    HIDDEN,
    holds_variable,
    is_absent,
    plain_key,
    read_file,
    read_secret_file,
    shown_path,
    user_path,
)
from hostup_mcp.config.settings import Settings
from hostup_mcp.config.variables import meant_by
from hostup_mcp.policy.policies import Policies
from hostup_mcp.policy.rules import PolicyError

_APP = "hostup-mcp"
_PREFIX = "HOSTUP_MCP__"
_CONFIG = "HOSTUP_MCP_CONFIG"
_SECRETS = {("hostup", "api_key"), ("http", "token")}
_SECRET_OR_FILE = [
    {("hostup", "api_key"), ("hostup", "api_key_file")},
    {("http", "token"), ("http", "token_file")},
]
_KEY_MAX_BYTES = 4096
_FILE_MAX_BYTES = 4 * 1024 * 1024
_API_KEY = ("hostup", "api_key")
# A name that a person would choose for a setting. A secret has more digits, or is longer.
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z_-]{0,30}\d{0,2}")
_POSITION = re.compile(r"\(at (line \d+, column \d+|end of document)\)")

# Variables with a short name; all others are HOSTUP_MCP__SECTION__KEY.
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


class _Value(BaseModel):
    """A raw value, and where it was found, for errors."""

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
        ConfigError: for the first value that is not accepted.
    """
    for (section, key), raw in options.items():
        _require_text(raw, f"command line: {section}.{key}")
    layers = [
        {key: _Value(raw=raw, place="command line") for key, raw in options.items()},
        _environment(environ),
        _file(config_path(config_file, environ), _CONFIG if config_file is None else "--config"),
    ]
    chosen: dict[tuple[str, str], _Value] = {}
    for layer in layers:
        # A secret and its file are one setting: either of them hides both of a weaker layer.
        decided = {key for pair in _SECRET_OR_FILE if pair & chosen.keys() for key in pair}
        for key, value in layer.items():
            if key not in decided:
                chosen.setdefault(key, value)
    fault = _key_fault(chosen.get(_API_KEY))
    if fault:
        del chosen[_API_KEY]
    settings = _validate(chosen)
    preset = chosen.get(("policy", "preset"))
    if settings.policy.preset == "unrestricted" and preset and not preset.place.startswith("file "):
        raise ConfigError(
            f"{preset.place}: policy.preset = 'unrestricted' is accepted in the file only.",
            "If you really mean it, write it under [policy] in the configuration file.",
        )
    return _without_key(settings, fault) if fault else _with_key_file(settings, chosen)


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
    """The configuration file: the option's, else `HOSTUP_MCP_CONFIG`'s, else the user's own.

    None only if the first two are not given and the user's own file certainly does not exist.
    """
    named = environ.get(_CONFIG) if option is None else option
    if named is not None:
        place = f"environment variable {_CONFIG}" if option is None else "--config"
        try:
            return Path(user_path(named))
        except ValueError:
            why = _unfilled(named) if named.strip() else "It is empty."
            raise ConfigError(
                f"{place} is not the path of a configuration file. {why}".strip(),
                "Give a path, or leave it out.",
            ) from None
    default = platformdirs.user_config_path(_APP) / "config.toml"
    if not default.is_absolute():
        raise ConfigError(
            "environment variable XDG_CONFIG_HOME is not an absolute path, so the configuration "
            "file would depend on the folder in which the server is started.",
            "Make it absolute, or name the file with --config or HOSTUP_MCP_CONFIG.",
        )
    return None if is_absent(default) else default


def _unfilled(text: str) -> str:
    return "It holds a variable that was not filled in." if holds_variable(text) else ""


def _environment(environ: Mapping[str, str]) -> dict[tuple[str, str], _Value]:
    layer: dict[tuple[str, str], _Value] = {}
    for name, raw in environ.items():
        if name.startswith(_PREFIX):
            section, _, key = name.removeprefix(_PREFIX).lower().partition("__")
            where = (section, key)
            _require_known(where, _variable(name))
        elif name in _VARIABLES:
            where = _VARIABLES[name]
        elif raw and (meant := meant_by(name, _all_variables())):
            raise ConfigError(
                f"environment variable {name} is not read.", f"Name it {meant}, or remove it."
            )
        else:
            continue
        if not raw:
            continue  # MCP hosts pass an empty text for a variable that their user left out
        _require_text(raw, f"environment variable {name}")
        layer[where] = _Value(raw=raw, place=f"environment variable {name}")
    return layer


@functools.cache
def _all_variables() -> frozenset[str]:
    sections = ((name, _fields(name)) for name in Settings.model_fields)
    own = (f"{_PREFIX}{name}__{key}".upper() for name, keys in sections for key in keys)
    return frozenset((*_VARIABLES, _CONFIG, *own))


def _variable(name: str) -> str:
    """A variable's name for a message; hidden if it may be a misplaced secret."""
    known = name in _VARIABLES or all(map(_PLAIN_NAME.fullmatch, name.split("__")))
    return f"environment variable {name if known else _PREFIX + '…'}"


def _require_text(raw: str, place: str) -> None:
    """Refuse bytes that are not UTF-8; Python reads them as lone surrogates."""
    try:
        raw.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{place} is not valid UTF-8 (value not shown).", "Write it again, as plain text."
        ) from None


def _file(path: Path | None, named_by: str) -> dict[tuple[str, str], _Value]:
    if path is None:
        return {}
    shown = shown_path(str(path))
    place = f"file {shown}" if shown != HIDDEN else f"file that {named_by} names {HIDDEN}"
    document = _document(path, place)
    layer: dict[tuple[str, str], _Value] = {}
    for section, table in document.items():
        if not isinstance(table, dict):
            raise _outside(section, place)
        for key, raw in cast("dict[str, object]", table).items():
            _require_known((section, key), place)
            layer[section, key] = _Value(raw=raw, place=place)
        _section_or_stop(section, place)
    rest = {key: value for key, value in layer.items() if key != _API_KEY or not _key_fault(value)}
    _validate(rest, strict=True)
    return layer


def _document(path: Path, place: str) -> dict[str, object]:
    form = "See config.example.toml for the form."
    try:
        content = read_file(path, _FILE_MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is not a path"
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            reason = "it is a broken link"
        raise ConfigError(
            f"{place} cannot be read ({reason}).", "Give the path of a TOML file."
        ) from None
    if len(content) > _FILE_MAX_BYTES:
        raise ConfigError(f"{place} is too large.", "Give the path of a TOML file.")
    try:
        return cast("dict[str, object]", tomllib.loads(content.decode("utf-8-sig")))
    except UnicodeDecodeError:
        raise ConfigError(f"{place} is not valid TOML (it is not UTF-8).", form) from None
    except ValueError as error:
        # Only the position: the rest of the parser's text may quote the file.
        found = _POSITION.search(str(error))
        where = found[1] if found else "no position"
        raise ConfigError(f"{place} is not valid TOML ({where}).", form) from None
    except RecursionError:
        raise ConfigError(f"{place} is not valid TOML (too deep).", form) from None


def _outside(key: str, place: str) -> ConfigError:
    """The error for a key outside any section; its value may be a secret."""
    owners = [name for name in Settings.model_fields if key in _fields(name)]
    below = " or ".join(f"[{name}]" for name in owners)
    return ConfigError(
        f"{place}: {_named(key)} is outside any section (value not shown).",
        f"Put it below {below}."
        if owners
        else f"Sections are: {', '.join(f'[{name}]' for name in Settings.model_fields)}.",
    )


def _fields(section: str) -> Mapping[str, object]:
    found = _section(section)
    return found.model_fields if found else {}


def _named(name: str) -> str:
    """A name for a message; hidden if it may be a misplaced secret."""
    return repr(name) if _PLAIN_NAME.fullmatch(name) else "(name not shown)"


def _section(name: str) -> type[BaseModel] | None:
    field = Settings.model_fields.get(name)
    return cast("type[BaseModel]", field.annotation) if field else None


def _section_or_stop(name: str, place: str) -> type[BaseModel]:
    section = _section(name)
    if section is None:
        raise ConfigError(
            f"{place}: there is no section {_named(name)}.",
            f"Sections are: {', '.join(Settings.model_fields)}.",
        )
    return section


def _require_known(where: tuple[str, str], place: str) -> None:
    section = _section_or_stop(where[0], place)
    if where[1] not in section.model_fields:
        raise ConfigError(
            f"{place}: section {where[0]} has no key {_named(where[1])} (value not shown).",
            f"Its keys are: {', '.join(section.model_fields)}.",
        )


def _validate(values: Mapping[tuple[str, str], _Value], *, strict: bool = False) -> Settings:
    """Settings from raw values. If strict, each has the right type (TOML); else it may be text."""
    tree: dict[str, dict[str, object]] = {}
    for (section, key), value in values.items():
        tree.setdefault(section, {})[key] = value.raw
    try:
        # JSON mode is strict about types and still reads a secret from a string. JSON has no
        # dates, so a TOML date becomes an empty object, which no setting accepts.
        return Settings.model_validate_json(json.dumps(tree, default=lambda _: {}), strict=strict)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    section, key = (str(part) for part in first["loc"][:2])
    if section == "policy" and len(first["loc"]) > 2:
        raise _nested_error(values[section, key].place, first["loc"], first["msg"])
    value = values[section, key]
    model = _section(section)
    accepted = model.model_fields[key].description if model else ""
    # Any text may be a secret that was put into the wrong place.
    hidden = (section, key) in _SECRETS or not isinstance(value.raw, int | float)
    shown = "(not shown)" if hidden else ascii(value.raw)
    unfilled = f" {_unfilled(value.raw)}".rstrip() if isinstance(value.raw, str) else ""
    raise ConfigError(
        f"{value.place}: {section}.{key} = {shown} is not accepted.{unfilled}",
        f"Accepted: {accepted}.",
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
    """The error for a value inside a table of the policy. It leaves out the value."""
    for technical, plain in _PLAIN_WORDS.items():
        message = message.replace(technical, plain)
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return ConfigError(
        f"{place}: {where.removeprefix('.')} is not accepted: {message[:1].lower()}{message[1:]}.",
        "docs/policy.md describes rules, types and policies for single VPSs.",
    )


def _key_fault(value: _Value | None) -> str:
    """Why the given text is certainly not a key, as a sentence; empty if it may be one."""
    fault = key_fault(value.raw) if value and isinstance(value.raw, str) else ""
    return f"{value.place} holds no HostUp API key: {fault}." if value and fault else ""


def _without_key(settings: Settings, fault: str) -> Settings:
    return settings.model_copy(update={"hostup": settings.hostup.without_key(fault)})


def _with_key_file(settings: Settings, values: Mapping[tuple[str, str], _Value]) -> Settings:
    hostup = settings.hostup
    if hostup.api_key is not None or hostup.api_key_file is None:
        return settings
    path = Path(hostup.api_key_file)
    shown = shown_path(str(path))
    place = f"{values['hostup', 'api_key_file'].place}: hostup.api_key_file = {shown}"
    try:
        content = read_secret_file(path, _KEY_MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is not a path"
        raise ConfigError(
            f"{place} cannot be read ({reason}).", "Give the path of a file with the key."
        ) from None
    content = content.removeprefix(b"\xef\xbb\xbf")
    fault = key_fault(content.decode("utf-8", "replace"))
    if fault:
        return _without_key(settings, f"{place} holds no HostUp API key: {fault}.")
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
