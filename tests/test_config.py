"""Settings: four layers, and a clear stop for whatever cannot be understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostup_mcp.config.loading import ConfigError, Settings, load

KEY = "hk_live_0123456789"


def write(path: Path, content: str) -> str:
    path.write_text(content)
    return str(path)


def stop(
    environ: dict[str, str],
    config_file: str | None = None,
    options: dict[tuple[str, str], str] | None = None,
) -> str:
    with pytest.raises(ConfigError) as caught:
        load(options or {}, environ, config_file)
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value)
    return str(caught.value)


def test_the_example_is_the_defaults(root: Path) -> None:
    """Every key stands in it, as a comment where it has no default, and every value is real."""
    example = root / "config.example.toml"
    assert load({}, {}, str(example)) == Settings()
    text = example.read_text()
    for section, field in Settings.model_fields.items():
        assert f"\n[{section}]\n" in text
        for key in field.annotation.model_fields:  # type: ignore[union-attr]
            table = f"\n# [{section}.{key}]" in text or f"\n# [[{section}.{key}]]" in text
            assert table or f"\n{key} = " in text or f"\n# {key} = " in text, f"{section}.{key}"


def test_the_strongest_layer_wins(tmp_path: Path) -> None:
    config = write(tmp_path / "c.toml", '[hostup]\nbase_url = "https://file.example"\n')
    env = {"HOSTUP_BASE_URL": "https://env.example"}
    option = {("hostup", "base_url"): "https://option.example"}
    assert load({}, {}, None).hostup.base_url == "https://cloud.hostup.se"
    assert load({}, {}, config).hostup.base_url == "https://file.example"
    assert load({}, env, config).hostup.base_url == "https://env.example"
    assert load(option, env, config).hostup.base_url == "https://option.example"


def test_the_variables_with_a_name_of_their_own(tmp_path: Path) -> None:
    settings = load({}, {"HOSTUP_API_KEY": f" {KEY}\n", "HOSTUP_MCP_STATE_DIR": "/x"}, None)
    assert settings.hostup.api_key
    assert settings.hostup.api_key.get_secret_value() == KEY
    assert settings.state.path == Path("/x")
    config = write(tmp_path / "c.toml", "[execution]\nlost_after_seconds = 20\n")
    assert load({}, {"HOSTUP_MCP_CONFIG": config}).execution.lost_after_seconds == 20
    other = write(tmp_path / "d.toml", "")
    assert load({}, {"HOSTUP_MCP_CONFIG": config}, other).execution.lost_after_seconds == 15


def test_any_key_from_the_environment() -> None:
    env = {"HOSTUP_MCP__OUTPUT__WINDOW_BYTES": "2000", "HOSTUP_MCP__SERVER__LOG_LEVEL": "info"}
    settings = load({}, env)
    assert (settings.output.window_bytes, settings.server.log_level) == (2000, "info")


def test_an_empty_variable_is_not_set() -> None:
    assert load({}, {"HOSTUP_API_KEY": "", "HOSTUP_BASE_URL": ""}) == Settings()


def test_the_key_from_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "key", KEY + "\n")
    other = write(tmp_path / "other", "other_key")

    def key(env: dict[str, str], options: dict[tuple[str, str], str] | None = None) -> str:
        found = load(options or {}, env).hostup.api_key
        assert found
        return found.get_secret_value()

    assert key({"HOSTUP_API_KEY_FILE": path}) == KEY
    assert key({"HOSTUP_API_KEY_FILE": path, "HOSTUP_API_KEY": "direct_key"}) == "direct_key"
    option = {("hostup", "api_key_file"): other}
    assert key({"HOSTUP_API_KEY": KEY}, option) == "other_key"


def test_lists_from_one_line() -> None:
    env = {
        "HOSTUP_MCP__HTTP__ALLOWED_HOSTS": "MCP.example.com, other.example:8443",
        "HOSTUP_MCP__HTTP__ALLOWED_ORIGINS": "none",
    }
    http = load({}, env).http
    assert http.allowed_hosts == ("mcp.example.com", "other.example:8443")
    assert http.allowed_origins == ()
    assert load({}, {}).http.allowed_origins is None


def test_a_token_or_its_file_whichever_is_stronger(tmp_path: Path) -> None:
    config = write(tmp_path / "c.toml", "[http]\ntoken = 'in-the-file-0123456789'\n")
    http = load({("http", "token_file"): "/x"}, {}, config).http
    assert (http.token, http.token_file) == (None, "/x")
    http = load({}, {"HOSTUP_MCP_HTTP_TOKEN": "from-outside-0123456789"}, config).http
    assert http.token
    assert http.token.get_secret_value() == "from-outside-0123456789"
    assert "0123456789" not in repr(http) + http.model_dump_json()


def test_the_key_is_not_shown() -> None:
    settings = load({}, {"HOSTUP_API_KEY": KEY})
    assert KEY not in repr(settings)
    assert KEY not in str(settings)
    assert KEY not in settings.model_dump_json()


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (
            "[hostup]\nbase_ur = 1",
            ["no key 'base_ur' (value not shown)", "Its keys are: base_url, "],
        ),
        ("[hosting]\nx = 1", ["hosting", "Sections are: hostup, "]),
        ("hostup = 3", ["'hostup' is outside any section", "[hostup], "]),
        (
            "[hostup]\nread_timeout_seconds = '5'",
            ["= (not shown)", "a number of seconds from 1 to 600"],
        ),
        ("[hostup]\nread_timeout_seconds = 0", ["hostup.read_timeout_seconds = 0", "from 1 to"]),
        ("[hostup]\nread_timeout_seconds = nan", ["= nan", "from 1 to"]),
        ("[hostup]\nread_timeout_seconds = true", ["= True", "from 1 to"]),
        ("[hostup]\nbase_url = 2026-01-01", ["base_url", "https://HOST"]),
        ("[output]\nwindow_bytes = 10.5", ["= 10.5", "a whole number from 1024 to 65536"]),
        ("[output]\nkeep_raw = 1", ["output.keep_raw = 1", "true or false"]),
        ("[state]\nkeep_days = 0", ["state.keep_days = 0", "from 0.01 to 3650"]),
        ("[server]\nclient_timeout_seconds = 1", ["= 1 is not", "seconds from 2 to 3600"]),
        ("[execution]\nrequests_per_second = 0", ["= 0 is not", "a number up to 1000"]),
        ("[execution]\nrepeat_window_seconds = -1", ["= -1 is not", "from 0 to 86400"]),
        (
            "[server]\nlog_level = 'loud'",
            ["= (not shown)", '"info", "warning" or "error"'],
        ),
        (f"[hostup]\napi_key = '{KEY} x'", ["hostup.api_key = (not shown)", "printable ASCII"]),
        ("[hostup]\napi_key = 5", ["hostup.api_key = (not shown)"]),
        ("[hostup", ["is not valid TOML"]),
        ("[hostup]\napi_key_file = " + "[" * 5000, ["is not valid TOML"]),
        ("[state]\ndir = 1979-05-27", ["state.dir = ", "the path of a folder"]),
        ("[output.x]\ny = 1", ["output has no key 'x'"]),
        (f"[hostup]\napi_keys = '{KEY}'", ["has no key 'api_keys' (value not shown)"]),
        ("[hostup]\nbase_url = 'https://u:hunter2@x'", ["base_url = (not shown)"]),
        ("[http]\nport = 70000", ["http.port = 70000", "from 0 to 65535"]),
        ("[http]\nhost = 'a b'", ["http.host = (not shown)", "an address or a host name"]),
        ("[http]\nallowed_hosts = ['https://x']", ["allowed_hosts", "each HOST or HOST:PORT"]),
        ("[http]\nallowed_hosts = ['*']", ["allowed_hosts", "each HOST or HOST:PORT"]),
        ("[http]\nallowed_origins = ['x.example']", ["allowed_origins", "a list of origins"]),
        ("[http]\nallowed_origins = ['null']", ["allowed_origins", "a list of origins"]),
        ("[http]\nmax_sessions = 0", ["http.max_sessions = 0", "from 1 to 10000"]),
        ("[http]\ni_understand_remote_access = 'yes'", ["true or false"]),
        ("[http]\ntoken = 'hunter2 x'", ["http.token = (not shown)", "printable ASCII"]),
        ("[http]\ntokens = 'hunter2'", ["no key 'tokens' (value not shown)"]),
    ],
)
def test_a_file_that_cannot_be_understood(tmp_path: Path, content: str, parts: list[str]) -> None:
    path = tmp_path / "c.toml"
    message = stop({}, write(path, content))
    for part in [str(path), *parts]:
        assert part in message
    assert "hunter2" not in message


def test_a_wrong_file_stops_even_where_the_environment_is_stronger(tmp_path: Path) -> None:
    config = write(tmp_path / "c.toml", "[output]\nwindow_bytes = 5")
    assert "window_bytes = 5" in stop({"HOSTUP_MCP__OUTPUT__WINDOW_BYTES": "2000"}, config)


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        (
            "HOSTUP_MCP__OUTPUT__WINDOW_BYTES",
            "many",
            ["= (not shown)", "a whole number"],
        ),
        (
            "HOSTUP_MCP__OUTPUT__SIZE",
            "1",
            ["no key 'size' (value not", "window_bytes, keep_raw"],
        ),
        ("HOSTUP_MCP__OUT__SIZE", "1", ["no section 'out'", "Sections are"]),
        ("HOSTUP_MCP__OUT", "1", ["no section 'out'"]),
        ("HOSTUP_BASE_URL", "http://cloud.hostup.se", ["hostup.base_url", "https://HOST"]),
        ("HOSTUP_BASE_URL", "https://cloud.hostup.se/api/v2", ["hostup.base_url"]),
        ("HOSTUP_BASE_URL", "https://x:99999", ["hostup.base_url"]),
        ("HOSTUP_BASE_URL", "https://x?y", ["hostup.base_url"]),
        ("HOSTUP_BASE_URL", "https:///x", ["hostup.base_url"]),
        ("HOSTUP_BASE_URL", "cloud.hostup.se", ["hostup.base_url"]),
        ("HOSTUP_API_KEY", f"{KEY}\n{KEY}", ["(not shown)", "without blanks"]),
        ("HOSTUP_API_KEY", f"{KEY}å", ["(not shown)"]),
        ("HOSTUP_API_KEY", f"{KEY}\udce5", ["is not valid UTF-8", "not shown"]),
        ("HOSTUP_BASE_URL", "https://x\udce5", ["is not valid UTF-8"]),
        ("HOSTUP_BASE_URL", "https://exa mple.com", ["hostup.base_url"]),
        ("HOSTUP_MCP__HOSTUP__API_KEYS", KEY, ["no key 'api_keys' (value not shown)"]),
        ("HOSTUP_MCP_STATE_DIR", "~no-such-user/x", ["state.dir", "the path of a folder"]),
        ("HOSTUP_MCP_STATE_DIR", "a\0b", ["state.dir", "the path of a folder"]),
        ("HOSTUP_MCP_CONFIG", "~no-such-user/x", ["not the path of a configuration file"]),
        ("HOSTUP_API_KEY_FILE", "/nonexistent/key", ["cannot be read", "/nonexistent/key"]),
        ("HOSTUP_MCP_CONFIG", "/nonexistent/c.toml", ["cannot be read", "/nonexistent/c.toml"]),
    ],
)
def test_an_environment_that_cannot_be_understood(name: str, value: str, parts: list[str]) -> None:
    message = stop({name: value})
    for part in [*parts, *([name] if name != "HOSTUP_MCP_CONFIG" else [])]:
        assert part in message


def test_a_key_file_that_holds_no_key(tmp_path: Path) -> None:
    for content in ("", "two words", "å", "x" * 5000):
        path = write(tmp_path / "key", content)
        assert "does not hold a key" in stop({"HOSTUP_API_KEY_FILE": path})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "https://x.example:8443"]
)
def test_origins_that_are_accepted(url: str) -> None:
    assert load({}, {"HOSTUP_BASE_URL": url + "/"}).hostup.base_url == url
