"""An S3-compatible server on loopback, in a process of its own that ends with this one."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BUCKET = "videos"
SECRET = "a-secret-that-no-error-may-hold"
# One request at a time: moto closes an object's content when another request replaces it, even while it is read.
SERVER = """
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.port, flush=True)
sys.stdin.read()
"""


@contextmanager
def bucket_server() -> Iterator[str]:
    """Yield the address of a server with one empty bucket."""
    child = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        try:
            endpoint = f"http://127.0.0.1:{int(child.stdout.readline())}"
            urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT"), timeout=30).close()
            yield endpoint
        finally:
            child.stdin.close()


def options(endpoint: str) -> dict[str, Any]:
    """Return what a client needs to know."""
    return {
        "endpoint": endpoint,
        "access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "secret_access_key": SECRET,
        "region": "us-east-1",
    }
