"""The settings that there are: one frozen model for each section. `loading` makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import AfterValidator, Field, PrivateAttr, SecretStr

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.config.sections import PathText, Section, plain_key
from hostup_mcp.hostup.origin import parse_origin
from hostup_mcp.policy.policies import PolicyData

_APP = "hostup-mcp"

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
    _key_fault: str = PrivateAttr(default="")

    @property
    def key_fault(self) -> str:
        """Why the text given as the key is not one, as a sentence; empty if nothing is wrong.

        If it is not empty, `api_key` is None.
        """
        return self._key_fault

    def without_key(self, fault: str) -> HostUpSettings:
        """These settings without a key; `fault` says why."""
        other = self.model_copy(update={"api_key": None})
        other._key_fault = fault
        return other


class ExecutionSettings(Section):
    """How commands are started and polled, and how many may be unfinished."""

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
    """How much of a command's output is shown, and whether the raw output is kept too."""

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
    """Where the journal is, and how much it keeps."""

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
    """All settings. `load` builds them, and reads the key from `hostup.api_key_file`."""

    hostup: HostUpSettings = HostUpSettings()
    execution: ExecutionSettings = ExecutionSettings()
    output: OutputSettings = OutputSettings()
    server: ServerSettings = ServerSettings()
    http: HttpSettings = HttpSettings()
    state: StateSettings = StateSettings()
    policy: PolicyData = PolicyData()
