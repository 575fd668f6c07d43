"""How long the policy takes: `python benchmarks/policy.py`.

Prints the tables of benchmarks/README.md: a batch of 10,000 lines through the command line, the
time of single decisions, and how the time grows from 100 to 4,096 characters.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hostup_mcp.policy.policies import Policies, PolicyData

ROOT: Final = Path(__file__).parents[1]
LINES: Final = 10_000
SHORT: Final = 100
LONG: Final = 4096
ROUNDS: Final = 9

POLICY: Final = Policies(PolicyData()).default

# Commands of any length, each made to be slow in its own way.
FAMILIES: Final[dict[str, Callable[[int], str]]] = {
    "one plain word": lambda n: "df " + "x" * (n - 3),
    "one quoted word": lambda n: "echo '" + "x" * (n - 7) + "'",
    "quotes in double quotes": lambda n: 'echo "' + "'" * (n - 7) + '"',
    "escapes": lambda n: "echo " + "\\*" * ((n - 5) // 2),
    "an open quote": lambda n: "echo '" + "x" * (n - 6),
    "stars": lambda n: "ls /" + "*/" * ((n - 4) // 2),
    "words": lambda n: "ls " + " ".join("/v" for _ in range(min(126, (n - 3) // 3))),
    "stages": lambda n: " | ".join(["cat /var/log/syslog"] * min(16, max(1, n // 22))),
    "a cluster": lambda n: "ls -" + "l" * (n - 4),
    "a path": lambda n: "cat /var/log" + "/a" * ((n - 12) // 2),
    "a path that climbs": lambda n: "cat /var" + "/.." * ((n - 8) // 3),
    "a pattern of files": lambda n: "cat /var/log/" + "?*" * ((min(n, 240) - 13) // 2),
    "an awk program": lambda n: "awk '{print " + "$1," * ((n - 15) // 3) + "$1}'",
    "awk parentheses": lambda n: "awk '" + "(" * ((n - 6) // 2) + ")" * ((n - 6) // 2) + "'",
    "awk regular expressions": lambda n: "awk '" + "/[a]/&&" * ((n - 10) // 7) + "/a/'",
    "a sed script": lambda n: f"sed 's/{'a' * ((n - 20) // 2)}/b/{';p' * ((n - 20) // 4)}'",
    "a find expression": lambda n: "find /var" + " -name a" * min(60, (n - 9) // 8),
    "dollars": lambda n: "echo " + "$" * (n - 5),
    "blanks": lambda n: "df" + " " * (n - 3) + "x",
    "a list of columns": lambda n: "ps -eo " + ",".join(["pid"] * ((n - 7) // 4)),
    "a format": lambda n: "find /var -printf '" + "%p" * ((n - 19) // 2) + "'",
}  # fmt: skip


def main() -> None:
    """Print everything."""
    commands = corpus()
    batch(commands)
    single(commands)
    growth()


def corpus() -> list[str]:
    """The corpus of the tests, and mutations of it, up to 10,000 lines."""
    known = [
        str(json.loads(line)["command"])
        for name in ("benign", "hostile")
        for line in (ROOT / f"tests/corpus/{name}.jsonl").read_text().splitlines()
    ]
    chance = random.Random(1)
    signs = " '\"\\|&;<>$`(){}[]*?~#!=-/abcdef0123456789"
    commands = list(known)
    while len(commands) < LINES:
        text = chance.choice(known)
        at = chance.randrange(len(text) + 1)
        commands.append(text[:at] + chance.choice(signs) + text[at + chance.randint(0, 2) :])
    return commands


def batch(commands: list[str]) -> None:
    """`check --batch`, as one process."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({"command": command}) + "\n" for command in commands)
        file.flush()
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "hostup_mcp", "check", "--batch", file.name],
            check=True,
            capture_output=True,
        )
        seconds = time.perf_counter() - began
    allowed = done.stdout.count(b'"verdict": "allow"')
    print(f"check --batch: {len(commands)} lines ({allowed} allowed) in {seconds:.2f} s,")
    print(f"{len(commands) / seconds:.0f} lines a second, start included\n")


def single(commands: list[str]) -> None:
    """Every line by itself, in this process."""
    POLICY.judge("df")
    times: list[tuple[float, str]] = []
    for command in commands:
        began = time.perf_counter()
        POLICY.judge(command)
        times.append((time.perf_counter() - began, command))
    values = sorted(value for value, _ in times)
    worst, command = max(times)
    print("| one decision | ms |")
    print("| --- | --- |")
    print(f"| median | {statistics.median(values) * 1000:.3f} |")
    print(f"| 99 % | {values[len(values) * 99 // 100] * 1000:.3f} |")
    print(f"| worst | {worst * 1000:.3f} |")
    print(f"\nThe worst: {command[:100]!r}\n")


def growth() -> None:
    """From 100 to 4,096 characters; 41 times the length, and an exponent of 1 is linear."""
    print(f"| made of | verdict | ms at {SHORT} | ms at {LONG} | exponent |")
    print("| --- | --- | --- | --- | --- |")
    worst = 0.0
    for name, make in FAMILIES.items():
        short, long = make(SHORT), make(LONG)
        small, large = best(short), best(long)
        worst = max(worst, large)
        exponent = math.log(large / small) / math.log(len(long) / len(short))
        decided = POLICY.judge(long)
        verdict = getattr(decided, "code", "allow")
        print(
            f"| {name} ({len(long)}) | {verdict} | {small * 1000:.3f} | {large * 1000:.3f} | "
            f"{exponent:.2f} |"
        )
    print(f"\nThe worst of them: {worst * 1000:.1f} ms")


def best(command: str) -> float:
    """Seconds; the least of several rounds, since a machine's noise only adds."""
    times: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        POLICY.judge(command)
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    main()
