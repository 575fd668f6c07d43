"""The section `[http]` of the settings: serving over HTTP."""

from __future__ import annotations

import re
from typing import Annotated, cast

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from hostup_mcp.config.sections import PathText, Section, plain_key


def _names(value: object) -> object:
    """A list, also from one line of text with commas; the text `none` is the empty list."""
    if isinstance(value, list):
        return tuple(cast("list[object]", value))
    if not isinstance(value, str):
        return value
    return () if value.strip() == "none" else tuple(item.strip() for item in value.split(","))


def _plain_host(text: str) -> str:
    if not re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?", text):
        raise ValueError("not a host")
    return text.lower()


def _plain_origin(text: str) -> str:
    scheme, separator, host = text.partition("://")
    if not separator or scheme not in ("http", "https"):
        raise ValueError("not an origin")
    return f"{scheme}://{_plain_host(host)}"


_HOSTS = 'a list of host names, each HOST or HOST:PORT, such as ["mcp.example.com"]'
_ORIGINS = 'a list of origins, such as ["https://app.example.com"]; [] or "none" for none'
_Hosts = Annotated[tuple[Annotated[str, AfterValidator(_plain_host)], ...], BeforeValidator(_names)]
_Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_plain_origin)], ...], BeforeValidator(_names)
]


class HttpSettings(Section):
    """Serving over HTTP: where, who may connect, and how much of everything."""

    host: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9._:-]{1,253}$", description="an address or a host name")
    ] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="a whole number from 0 to 65535")] = 8765
    uds: PathText | None = Field(default=None, description="the path of a Unix socket")
    with_sse: Annotated[bool, Field(description="true or false")] = False
    tls_cert: PathText | None = Field(default=None, description="the path of a PEM file")
    tls_key: PathText | None = Field(default=None, description="the path of a PEM file")
    token: Annotated[SecretStr, AfterValidator(plain_key)] | None = Field(
        default=None, description="a token of printable ASCII characters without blanks"
    )
    token_file: PathText | None = Field(
        default=None, description="the path of a file that holds tokens"
    )
    allowed_hosts: _Hosts = Field(default=(), description=_HOSTS)
    allowed_origins: _Origins | None = Field(default=None, description=_ORIGINS)
    i_understand_remote_access: Annotated[bool, Field(description="true or false")] = False
    max_body_bytes: Annotated[
        int,
        Field(ge=65_536, le=16_777_216, description="a whole number from 65536 to 16777216"),
    ] = 4_194_304
    max_header_bytes: Annotated[
        int, Field(ge=1024, le=262_144, description="a whole number from 1024 to 262144")
    ] = 16_384
    max_connections: Annotated[
        int, Field(ge=1, le=100_000, description="a whole number from 1 to 100000")
    ] = 500
    max_sessions: Annotated[
        int, Field(ge=1, le=10_000, description="a whole number from 1 to 10000")
    ] = 1000
    max_calls_in_flight: Annotated[
        int, Field(ge=1, le=10_000, description="a whole number from 1 to 10000")
    ] = 32
    max_calls_per_minute: Annotated[
        int, Field(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")
    ] = 600
    session_idle_seconds: Annotated[
        float, Field(ge=1, le=86_400, description="a number of seconds from 1 to 86400")
    ] = 1800.0
    receive_seconds: Annotated[
        float, Field(ge=0.5, le=600, description="a number of seconds from 0.5 to 600")
    ] = 15.0
