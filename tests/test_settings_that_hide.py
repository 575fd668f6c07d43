"""What cannot be read stops the start, no message shows a secret, and what is no key is none."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.config.key_faults import key_fault
from hostup_mcp.config.loading import ConfigError, load
from hostup_mcp.config.sections import open_pipe
from hostup_mcp.hostup.proxies import secrets, unusable
from hostup_mcp.transports.errors import ServeError
from hostup_mcp.transports.tokens import read_tokens

SECRET = "hunter2hunter2"


def stop(environ: dict[str, str], config_file: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load({}, environ, config_file)
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- what stands at the default path


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "hostup-mcp" / "config.toml"


def test_a_path_where_nothing_stands_is_no_file(default: Path) -> None:
    assert load({}, {}).policy.preset == "diagnostics"
    default.parent.parent.mkdir()
    assert load({}, {}).policy.preset == "diagnostics"
    default.parent.mkdir()
    assert load({}, {}).policy.preset == "diagnostics"
    default.write_text('[policy]\npreset = "none"\n')
    assert load({}, {}).policy.preset == "none"


def test_whatever_else_stands_there_stops_the_start(default: Path, tmp_path: Path) -> None:
    default.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(default.parent)  # a socket's path has to be short
        for number, made in enumerate(
            (
                lambda: default.symlink_to(tmp_path / "gone" / "config.toml"),
                lambda: default.symlink_to("config.toml"),
                lambda: default.symlink_to("/dev/null"),
                default.mkdir,
                lambda: os.mkfifo(default),
                lambda: listener.bind("config.toml"),
            )
        ):
            made()
            assert "cannot be read" in stop({}), number
            default.rmdir() if number == 3 else default.unlink()
        os.chdir("/")


def test_so_does_a_folder_on_the_way_that_leads_nowhere(default: Path, tmp_path: Path) -> None:
    config = default.parent.parent
    config.symlink_to(tmp_path / "unmounted")
    assert "cannot be read" in stop({})
    config.unlink()
    config.write_text("")
    assert "cannot be read" in stop({})
    config.unlink()
    config.mkdir()
    default.parent.symlink_to("hostup-mcp")
    assert "cannot be read" in stop({})


@pytest.mark.parametrize("folder", ["x" * 300, "x/" * 2500])
def test_so_does_a_path_that_is_too_long(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", f"/{folder}")
    assert "cannot be read" in stop({})


def test_so_does_a_folder_that_may_not_be_searched(
    default: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root nothing is refused, so the system's answer is put in its place."""

    def refuses(*_: object, **__: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    default.parent.mkdir(parents=True)
    monkeypatch.setattr(Path, "lstat", refuses)
    monkeypatch.setattr(Path, "stat", refuses)
    assert "cannot be read (Permission denied)" in stop({})


def test_a_relative_folder_is_not_looked_into(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would be one of the folder that the client happens to start the server in."""
    path = tmp_path / ".config/hostup-mcp/config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[policy]\npreset = "unrestricted"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", ".config")
    try:
        assert load({}, {}).policy.preset == "diagnostics"
    except ConfigError as error:
        assert "not an absolute path" in error.message


@pytest.mark.parametrize("named", ["", "  ", "${HOME}/c.toml", "$HOME/c.toml", "%APPDATA%\\c.toml"])
def test_a_file_that_is_named_by_nothing_stops_the_start(named: str) -> None:
    for message in (stop({"HOSTUP_MCP_CONFIG": named}), stop({}, named)):
        assert "is not the path of a configuration file" in message
        assert ("is empty" if not named.strip() else "was not filled in") in message


def test_home_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.toml").write_text('[policy]\npreset = "none"\n')
    assert load({}, {"HOSTUP_MCP_CONFIG": "~/c.toml"}).policy.preset == "none"


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, kind in ((pipe, "pipe"), (tmp_path, "folder"), (Path("/dev/zero"), "device")):
        assert f"It is a {kind}, not a file" in stop({"HOSTUP_API_KEY_FILE": str(path)})
        assert f"It is a {kind}, not a file" in stop({"HOSTUP_MCP_CONFIG": str(path)})
        with pytest.raises(ServeError, match=f"It is a {kind}"):
            read_tokens(HttpSettings(token_file=str(path)), tmp_path)


@pytest.mark.parametrize(
    "content", [b"\x00", b"\xff\xfe[\x00", b'x = "' + b"\xe5", b"x" * 5_000_000]
)
def test_a_file_that_is_no_text_stops_the_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    assert str(path) in stop({}, str(path))
    path.write_bytes(b'\xef\xbb\xbf[policy]\npreset = "none"\n')
    assert load({}, {}, str(path)).policy.preset == "none"


# ---------------------------------------------------------------- no secret in a message


@pytest.mark.parametrize(
    "content",
    [
        f'api_key = "{SECRET}"',
        f'token = "{SECRET}"',
        f"api_key = {SECRET}",
        f'api_key = "{SECRET}',
        f'[hostap]\napi_key = "{SECRET}"',
        f'[hostup]\napi_kye = "{SECRET}"',
        f'[hostup]\nbase_ur = "{SECRET}"',
        f'[hostup]\napi_key = ["{SECRET}"]',
        f'[hostup]\napi_key = {{x = "{SECRET}"}}',
        f'[hostup]\nbase_url = "https://x/{SECRET}"',
        f'[hostup]\nbase_url = "https://x?k={SECRET}"',
        f'[hostup]\nbase_url = "{SECRET}"',
        f'[hostup]\nread_timeout_seconds = "{SECRET}"',
        f'[server]\nlog_level = "{SECRET}"',
        f'[http]\nallowed_hosts = ["{SECRET}@x"]',
        f'[http]\nallowed_hosts = "{SECRET}/"',
        f'[http]\ntoken = ["{SECRET}"]',
        f'[http]\nport = "{SECRET}"',
        f'[http]\nhost = "{SECRET}/"',
        f'["{SECRET}"]\nx = 1',
        f'[hostup]\n"{SECRET}" = 1',
        f"{SECRET}",
        f"{SECRET} = 1\n{SECRET} = 2",
        f'[hostup]\napi_key_file = "{SECRET}"',
        f'[policy]\npreset = "{SECRET}"',
        f'[[policy.rules]]\nargv = ["x"]\nverdict = "{SECRET}"',
    ],
)
def test_no_message_about_a_file_shows_what_may_be_a_secret(content: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(content)
    assert str(path) in stop({}, str(path))


@pytest.mark.parametrize(
    "name",
    [
        *("HOSTUP_BASE_URL", "HOSTUP_API_KEY_FILE", "HOSTUP_MCP_CONFIG"),
        *("HOSTUP_MCP__HTTP__PORT", "HOSTUP_MCP__SERVER__LOG_LEVEL", "HOSTUP_MCP__HOSTUP__KEY"),
        *("HOSTUP_MCP__POLICY__PRESET", f"HOSTUP_MCP__{SECRET}", f"HOSTUP_MCP__HTTP__{SECRET}"),
    ],
)
def test_no_message_about_a_variable_shows_what_may_be_a_secret(name: str) -> None:
    stop({name: SECRET})


def test_a_key_at_the_top_of_the_file_is_told_where_it_belongs(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f'api_key = "{SECRET}"')
    message = stop({}, str(path))
    assert "'api_key' is outside any section (value not shown)" in message
    assert "Put it below [hostup]" in message


@pytest.mark.parametrize(
    "value",
    [
        "http://alice:hunter2?x@proxy.example:3128",
        "http://alice:hunter2/x@proxy.example:3128",
        "http://alice:hunter2#x@proxy.example:3128",
        "http://alice:1234?x@proxy.example:3128",
        "http://alice:hun@ter2@proxy.example:3128",
        "alice:hunter2?@proxy.example",
        "http://alice:hunter2@proxy.example:99999",
        "http://alice:hunter2@proxy.example:0",
        "http://alice:hunter2@[proxy",
        "ftp://alice:hunter2@proxy.example",
        "http://",
        "http://alice:hunter 2@proxy.example",
    ],
)
def test_a_proxy_that_is_none_is_told_by_its_variable(value: str) -> None:
    assert unusable({"HTTPS_PROXY": value, "https_proxy": "", "PROXY": value}) == ["HTTPS_PROXY"]


@pytest.mark.parametrize(
    "value",
    [
        *("http://proxy:3128", "proxy:3128", "http://alice:hunter2%3Fx@proxy.example:3128/"),
        *("https://u@proxy", "socks5://127.0.0.1:1080", "http://[::1]:3128", "socks5h://u:p@x"),
    ],
)
def test_a_proxy_that_is_one_is_used(value: str) -> None:
    assert unusable({"ALL_PROXY": value}) == []
    found = [*secrets({"ALL_PROXY": value})]
    assert ("hunter2?x" in found) == ("hunter2" in value)


# ---------------------------------------------------------------- what is no key

NO_KEYS = (
    "${HOSTUP_API_KEY}", "$HOSTUP_API_KEY", "%HOSTUP_API_KEY%", "${input:HOSTUP_API_KEY}",
    "${env:HOSTUP_API_KEY}", "{env:HOSTUP_API_KEY}", "{{HOSTUP_API_KEY}}", "${{ secrets.KEY }}",
    "$env:HOSTUP_API_KEY", "{{ env.KEY }}", "@HOSTUP_API_KEY@", "${HOSTUP_API_KEY", "$(cat /x)",
    "`cat /x`", "!cat /x", "cat /x", "<your-api-key>", "[API KEY]", "{api_key}", "your_key_here",
    "YOUR_API_KEY", "your-hostup-api-key", "YourApiKey", "xxxxxxxx", "hk_live_xxxxxxxx", "xxx-xxx",
    "...", "hk_live_...", "********", "changeme", "change-me", "replace_with_your_key", "TODO",
    "undefined", "null", "none", "placeholder", "<redacted>", "HOSTUP_API_KEY", "API_KEY",
    "Bearer abc", "bearer\tabc", "Bearer: abc", "Authorization: Bearer abc", "X-API-Key: abc",
    "op://vault/item", "vault://x/y", "https://cloud.hostup.se/api-management", "file:///x",
    "/home/u/.config/hostup-mcp/api-key", "~/.config/key", "./key", "../key", "C:\\keys\\key",
    "/run/secrets/hostup", "'abc123'", '"abc123"', "`abc123`", "\u201cabc123\u201d",
    "\u2018abc123\u2019", '"abc123',
    "HOSTUP_API_KEY=abc123", "export HOSTUP_API_KEY=abc123", 'HOSTUP_API_KEY="abc123"',
    "# key\nHOSTUP_API_KEY=abc123", "api_key: abc123", 'api_key = "abc123"', "set API_KEY=abc",
    '{"api_key": "abc123"}', '["abc"]', "-----BEGIN PRIVATE KEY-----\nabc", "<!DOCTYPE html>x",
    "<html><head>", "$HOME", "0000000000",
    "%d/hostup", "$CREDENTIALS_DIRECTORY/key", "$(HOSTUP_API_KEY)", "$$(KEY)", "$$HOSTUP_API_KEY",
    "%(HOSTUP_API_KEY)s", "%{KEY}", "#{KEY}", "<%= key %>", "((KEY))", "<<KEY>>", "@@KEY@@",
    "%%KEY%%", "ENV[KEY]", "ENV:KEY", "$Env:KEY", 'System.getenv("X")', "import.meta.env.X",
    "secrets.KEY", "vault:secret/x#y", "keychain:hostup", "arn:aws:secretsmanager:x",
    "@Microsoft.KeyVault(SecretUri=https://x)", "projects/p/secrets/s/versions/latest",
    "ENC[AES256_GCM,data:x]", "exec:cat", "/config/key", "api-key.txt", ".env", "\\\\srv\\x",
    "hup_xxxxx", "00000000-0000-0000-0000-000000000000", "1234567890", "n/a", "(null)", "true",
    "KEY=abc", '\\"abc123\\"', "hk_live_[redacted]",
)  # fmt: skip
KEYS = (
    "hk_live_0123456789", "hk_test_abc123DEF", "sandbox_Xy-9_z", "0123456789abcdef" * 2,
    "aGVsbG8+d29ybGQ/Zm9v/YmFyCg==", "/9j4AAQSkZJRgABAQAAAQ==", "key_7f3a", "test_key_1",
    "eyJhbGciOi.eyJzdWIi.SflKxw", "a:b", "12:abcdef", "hostup:9f8e", "x9$kd%8!", "tok-1.2_3~4",
    "550e8400-e29b-41d4-a716-446655440000", "ABCDEF", "hunter2", "1234", "p@ss=word", "k",
    "hk~live~0", "A1b2C3==", "your1234", "tokenabc1", "f(x)", "abc,def", "ab|cd", "+46701234567",
    "a${b", "a$(b", "a{{b", "{{a", "${9", "$2y$abc", "a}}", "%41%42", "[ab]c", "{ab}c", "[abc",
    "it's/9f", '"Zq:7', "`k/9:", "9F3K_TOKEN", "A8F3_KEY", "AKIAIOSFODNN7TOKEN", "=abc=",
    "yourAbC9", "key-3f2a1c", "my_key_9f3", "none9", "/9jx/etc", "a...b", "k-xxx-9", "SwJ$(Kq}",
    "!Ab9/",
)  # fmt: skip


@pytest.mark.parametrize("text", NO_KEYS)
def test_what_is_no_key_is_refused_like_a_missing_one(text: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{text}\n", "utf-8")
    config = tmp_path / "c.toml"
    config.write_text(f"[hostup]\napi_key = {toml(text)}\n", "utf-8")
    for environ, place in (
        ({"HOSTUP_API_KEY": text}, "environment variable HOSTUP_API_KEY holds no"),
        ({"HOSTUP_API_KEY_FILE": str(path)}, f"{path} holds no"),
        ({"HOSTUP_MCP_CONFIG": str(config)}, f"file {config} holds no"),
    ):
        hostup = load({}, environ).hostup
        assert hostup.api_key is None
        assert place in hostup.key_fault
        fault = hostup.key_fault.partition("holds no")[2]
        assert text not in fault.replace("HostUp API key", "").replace("it is a placeholder", "")
        assert hostup.key_fault.endswith(".")


def toml(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + escaped.replace("\t", "\\t") + '"'


@pytest.mark.parametrize("text", KEYS)
def test_what_may_be_a_key_is_one(text: str) -> None:
    assert key_fault(text) == ""
    key = load({}, {"HOSTUP_API_KEY": text}).hostup.api_key
    assert key is not None
    assert key.get_secret_value() == text


def test_a_key_that_is_none_hides_no_weaker_one(tmp_path: Path) -> None:
    """It was meant to be another than the one of the file."""
    config = tmp_path / "c.toml"
    config.write_text("[hostup]\napi_key = 'hk_live_0123456789'\n")
    hostup = load({}, {"HOSTUP_API_KEY": "${HOSTUP_API_KEY}"}, str(config)).hostup
    assert hostup.api_key is None
    assert "a variable that was not filled in" in hostup.key_fault


@pytest.mark.parametrize(
    "text", ["${HOSTUP_MCP_HTTP_TOKEN}", "<your-http-token-here>", "xxxxxxxxxxxxxxxxxxx"]
)
def test_what_is_no_token_stops_serving_over_http(text: str, tmp_path: Path) -> None:
    http = load({}, {"HOSTUP_MCP_HTTP_TOKEN": text}).http
    with pytest.raises(ServeError) as caught:
        read_tokens(http, tmp_path)
    path = tmp_path / "tokens"
    path.write_text(f"alice {text}\n")
    with pytest.raises(ServeError) as in_file:
        read_tokens(HttpSettings(token_file=str(path)), tmp_path)
    for error in (caught.value, in_file.value):
        assert "cannot be used" in error.message
        assert text not in error.message


@pytest.mark.parametrize(
    "name", ["HOSTUP_API_KEY_FILE", "HOSTUP_MCP_STATE_DIR", "HOSTUP_MCP_HTTP_TOKEN_FILE"]
)
def test_a_path_with_a_literal_variable_is_told_as_that(name: str) -> None:
    assert "It holds a variable that was not filled in." in stop({name: "${HOME}/x"})


# ---------------------------------------------------------------- variables that nobody reads


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HOSTUP_MCP_POLICY_PRESET", "HOSTUP_MCP__POLICY__PRESET"),
        ("HOSTUP_MCP_POLICY__PRESET", "HOSTUP_MCP__POLICY__PRESET"),
        ("HOSTUP_MCP_POLICY_NETWORK", "HOSTUP_MCP__POLICY__NETWORK"),
        ("hostup_mcp__policy__preset", "HOSTUP_MCP__POLICY__PRESET"),
        ("HOSTUP_POLICY_PRESET", "HOSTUP_MCP__POLICY__PRESET"),
        ("HOSTUP_MCP_PRESET", "HOSTUP_MCP__POLICY__PRESET"),
        ("HOSTUP_MCP_POLICY", "HOSTUP_MCP__POLICY__PRESET"),
        ("HOSTUP-MCP-POLICY-PRESET", "HOSTUP_MCP__POLICY__PRESET"),
        ("HOSTUP_MCP_CONFIG_FILE", "HOSTUP_MCP_CONFIG"),
        ("HOSTUP_CONFIG", "HOSTUP_MCP_CONFIG"),
        ("Hostup_Mcp_Config", "HOSTUP_MCP_CONFIG"),
        ("HOSTUP_MCP_OUTPUT_KEEP_RAW", "HOSTUP_MCP__OUTPUT__KEEP_RAW"),
        ("HOSTUP_APIKEY_FILE", ""),
        ("HOSTUP_MCP_SERVICE_HOST", ""),
        ("HOSTUP_MCP_PORT_8765_TCP_ADDR", ""),
        ("HOSTUP_MCP_POLICY_SERVICE_PORT", ""),
        ("HOSTUP_MCP_POLICY_PORT", ""),
        ("XHOSTUP_MCP_POLICY_PRESET", ""),
    ],
)
def test_a_misspelt_variable_stops_the_start(name: str, meant: str, default: Path) -> None:
    """Passed over, it would leave the server with another policy than the one that was set."""
    if meant:
        message = stop({name: SECRET})
        assert f"{name} is not read. Name it {meant}, or remove it." in message
    else:
        load({}, {name: SECRET})
    load({}, {name: ""})


def test_a_file_whose_path_is_not_shown_is_told_by_what_names_it() -> None:
    assert "file that --config names (not shown) cannot be read" in stop({}, "confg.toml")
    message = stop({"HOSTUP_MCP_CONFIG": "confg.toml"})
    assert "file that HOSTUP_MCP_CONFIG names (not shown) cannot be read" in message


# ---------------------------------------------------------------- pipes that are open already


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_a_key_may_come_through_a_pipe_of_the_shell(folder: str) -> None:
    """As with `--api-key-file <(pass show hostup)`."""
    if not os.path.exists(folder):  # noqa: PTH110
        pytest.skip(f"this system has no {folder}")
    reads, writes = os.pipe()
    os.write(writes, b"hk_live_0123")
    late = threading.Timer(0.2, lambda: (os.write(writes, b"456789\n"), os.close(writes)))
    late.start()
    hostup = load({}, {"HOSTUP_API_KEY_FILE": f"{folder}/{reads}"}).hostup
    os.close(reads)
    assert hostup.api_key is not None
    assert hostup.api_key.get_secret_value() == "hk_live_0123456789"


def test_a_pipe_that_nobody_ends_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostup_mcp.config.sections._PIPE_SECONDS", 0.2)
    reads, writes = os.pipe()
    os.write(writes, SECRET.encode())
    message = stop({"HOSTUP_API_KEY_FILE": f"/dev/fd/{reads}"})
    assert "Who writes to the pipe did not end within" in message
    os.write(writes, b"x" * 5000)
    assert "does not hold a key" in stop({"HOSTUP_API_KEY_FILE": f"/dev/fd/{reads}"})
    os.close(writes)
    os.close(reads)
    assert "cannot be read" in stop({"HOSTUP_API_KEY_FILE": f"/dev/fd/{reads}"})


def test_neither_the_protocol_nor_a_configuration_comes_through_a_pipe() -> None:
    assert open_pipe(Path("/dev/fd/0")) is None
    reads, writes = os.pipe()
    assert open_pipe(Path(f"/dev/fd/{reads}")) == reads
    os.write(writes, b'[policy]\npreset = "none"\n')
    os.close(writes)
    assert "It is a pipe, not a file" in stop({"HOSTUP_MCP_CONFIG": f"/dev/fd/{reads}"})
    os.close(reads)
