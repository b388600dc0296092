"""A process that uses the private server of a directory until its input ends: `python holder.py DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

from cinelet.jobs.private_server import PrivateServer

server = PrivateServer(Path(sys.argv[1]))
server.attach()
print("attached", flush=True)  # noqa: T201
sys.stdin.read()
server.leave()
