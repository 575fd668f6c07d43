"""The steps of `.ci/run`, one session each; `nox --list` shows them.

They run in the environment that nox is in. `pip install -e '.[test,lint,clients]'` makes one.
"""

from __future__ import annotations

import sys

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]

_LARGE_TABLES = (
    "tests/faults tests/transports/test_matrix.py tests/transports/test_shutdown.py "
    "tests/transports/test_many_sessions.py tests/differential tests/test_readme.py"
)


def _python(session: nox.Session, *arguments: str, **env: str) -> None:
    session.run(sys.executable, "-m", *arguments, *session.posargs, env=env)


@nox.session
def lint(session: nox.Session) -> None:
    """Lint and format."""
    _python(session, "ruff", "check", ".")
    _python(session, "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, with pyright in strict mode."""
    _python(session, "pyright", "--pythonpath", sys.executable)


@nox.session
def tests(session: nox.Session) -> None:
    """The default tests, or those that are named after `--`."""
    _python(session, "pytest")


@nox.session
def tables(session: nox.Session) -> None:
    """Every case of the large tables: faults, transports, shells, the README's commands."""
    _python(session, "pytest", *_LARGE_TABLES.split(), HOSTUP_TESTS_ALL="1")


@nox.session
def conformance(session: nox.Session) -> None:
    """The official MCP conformance suite; needs npm."""
    _python(session, "tests.conformance")


@nox.session
def clients(session: nox.Session) -> None:
    """Clients of other makers, each in an environment of its own; needs npm."""
    arguments = ("-n", "2", "--durations=10", "tests/clients")
    _python(session, "pytest", *arguments, HOSTUP_TESTS_CLIENTS="1")
