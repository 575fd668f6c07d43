"""The commands that may be run: whole argv, nothing more and nothing less.

Every entry only reads, ends by itself, and shows nothing that an operator would keep from a
diagnosis.
"""

from __future__ import annotations

from typing import Final

_TEXT: Final = """
arch
cat /etc/os-release
cat /proc/cpuinfo
cat /proc/loadavg
cat /proc/meminfo
date
date -u
df
df -h
df -h /
df -hT
df -i
free
free -h
free -m
hostname
hostname -I
id
ip -br addr
ip -br link
ip addr
ip route
last -n 20
lsblk
lscpu
nproc
ps -ef
ps aux
ss -s
ss -tlnp
ss -tulpn
systemctl --failed
systemctl is-system-running
uname
uname -a
uname -m
uname -n
uname -r
uptime
uptime -p
vmstat 1 5
w
who
who -b
whoami
"""

_SLEEPS: Final = (1, 2, 3, 5, 10, 20, 30, 60)

ALLOWED: Final[frozenset[tuple[str, ...]]] = frozenset(
    tuple(line.split()) for line in _TEXT.strip().splitlines()
) | {("sleep", str(seconds)) for seconds in _SLEEPS}
"""Each allowed argv. `sleep` is there to try out commands that take a while."""
