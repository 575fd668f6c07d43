"""Runs command lines in namespaces of its own, with a name server that notes what it is asked.

`unshare -n -m -u python lookups_inside.py FOLDER`: lines from stdin; to stdout, for each, the names
that were asked for and the calls that would have sent something elsewhere than to a name server.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

FOLDER = Path(sys.argv[1])
FILES = {
    "/etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files dns\n"
    "protocols: files\nservices: files\nrpc: files\n",
}
NETWORK = """
ip link set lo up
ip link add d0 type veth peer name d1
ip addr add 192.0.2.1/24 dev d0
ip link set d0 up
ip link set d1 up
ip neigh replace 192.0.2.7 lladdr 02:00:00:00:00:07 dev d0 nud permanent
ip route add 198.51.100.0/24 via 192.0.2.7
hostname host.example
"""
TRACE = "strace -f -qq -s 200 -e trace=connect,sendto,sendmsg,sendmmsg -o"


def logins() -> bytes:
    """A utmp file with a login from elsewhere."""
    address = struct.unpack("<I", socket.inet_aton("192.0.2.9"))[0]
    form = "<hxxi32s4s32s256shhiii4I20s"
    login = (7, 1, b"pts/0", b"ts/0", b"root", b"login.example", 0, 0, 0, int(time.time()), 0)
    return struct.pack(form, *login, address, 0, 0, 0, b"")


def put(path: str, content: bytes) -> None:
    """Another file in place of one of the system's, which must be there."""
    own = FOLDER / path.replace("/", "_")
    own.write_bytes(content)
    Path(path).touch()
    subprocess.run(["mount", "--bind", str(own), path], check=True)


def answer(server: socket.socket, asked: set[str]) -> None:
    """Say of every name that there is none."""
    while True:
        query, peer = server.recvfrom(4096)
        labels: list[str] = []
        at = 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
            at += 1 + query[at]
        asked.add(".".join(labels))
        reply = query[:2] + b"\x81\x83" + query[4:6] + bytes(6) + query[12 : at + 5]
        server.sendto(reply, peer)


def main() -> None:
    """Set everything up, then run each line."""
    for line in NETWORK.strip().splitlines():
        subprocess.run(line.split(), check=True)
    for path, text in FILES.items():
        put(path, text.encode())
    for path in ("/run/utmp", "/var/log/wtmp"):
        put(path, logins())
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    asked: set[str] = set()
    threading.Thread(target=answer, args=(server, asked), daemon=True).start()
    listening, client = socket.socket(), socket.socket()
    listening.bind(("192.0.2.1", 8080))
    listening.listen()
    client.connect(("192.0.2.1", 8080))
    log = FOLDER / "trace"
    for line in sys.stdin.read().splitlines():
        asked.clear()
        subprocess.run(
            [*TRACE.split(), str(log), "timeout", "20", "sh", "-c", line],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd="/", check=False,
        )  # fmt: skip
        # connect() to port 0 or without a packet to follow is how addresses are sorted.
        calls = [
            call
            for call in log.read_text(errors="replace").splitlines()
            if "sa_family=AF_INET" in call and "htons(53)" not in call and " connect(" not in call
        ]
        sys.stdout.write(json.dumps({"asked": sorted(asked), "sent": calls}) + "\n")


main()
