"""A Hugging Face Hub on loopback, with the routes, headers and refusals of the real one."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import huggingface_hub
import huggingface_hub.constants
import pytest

TREE_PAGE = 7
"""Entries on a page of a repository's list of files; the real Hub has 1000."""
_LARGE = (".safetensors", ".bin", ".ckpt")
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Request:
    """What a client asked: `place` is "hub", or "cdn" for the store of the large files; headers in lower case."""

    place: str
    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Repository:
    """A model's files. gated: who may read them must have accepted terms; `readers` are the tokens that have."""

    files: dict[str, bytes]
    gated: bool = False
    readers: frozenset[str] = frozenset()

    @property
    def commit(self) -> str:
        parts = [name.encode() + content for name, content in sorted(self.files.items())]
        return hashlib.sha1(b"".join(parts)).hexdigest()


@dataclass
class FakeHub:
    """The state of the Hub: tests put repositories and faults in, and read the requests."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: frozenset[str] = frozenset({"hf_good"})
    requests: list[Request] = field(default_factory=list)
    status: int | None = None
    """If set, every request is answered with it."""
    retry_after: str | None = None
    cuts_bytes: list[int] = field(default_factory=list)
    """After so many bytes the connection of the next file with more breaks, once for each entry."""
    shortened_bytes: int = 0
    """Large files lack so many bytes at their end, and the answer is well formed."""
    stalls: bool = False
    """Large files stop after their first bytes until `go_on` is set."""
    silent: bool = False
    """Nothing is answered until `go_on` is set."""
    go_on: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    cdn_url: str = ""

    def fetched(self) -> set[str]:
        """Return the files whose content was asked for, as "repository path" or a large file's SHA-256."""
        paths = [request.path for request in self.requests if request.method == "GET"]
        small = {path.split("/resolve/")[1].split("/", 1)[1] for path in paths if "/resolve/" in path}
        by_hash = {
            hashlib.sha256(content).hexdigest(): name
            for repository in self.repositories.values()
            for name, content in repository.files.items()
        }
        large = {by_hash[path.split("?")[0].rsplit("/", 1)[1]] for path in paths if path.startswith("/large/")}
        return small | large


@contextmanager
def running(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve the Hub and its store, which has another address, as the real one's has."""
    servers = []
    for place in ("hub", "cdn"):
        handler = type("Handler", (_Handler,), {"hub": hub, "place": place})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
    hub.url, hub.cdn_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield hub
    finally:
        hub.go_on.set()
        for server in servers:
            server.shutdown()
            server.server_close()


@contextmanager
def asked_here(monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> Iterator[FakeHub]:
    """Serve the Hub to a library that tests have told to stay offline, and let it forget its connections afterwards."""
    # The library read the variable when it was imported.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()
    with running(hub):
        yield hub
    huggingface_hub.close_session()


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, as a repository has them."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub
    place: str

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(Request(self.place, self.command, self.path, _lower(self.headers)))
        path = unquote(urlsplit(self.path).path)
        if self.hub.silent:
            self.hub.go_on.wait(30)
        if self.hub.status is not None:
            extra = {"Retry-After": self.hub.retry_after} if self.hub.retry_after else {}
            self._refuse(self.hub.status, "", "Something is wrong", **extra)
        elif self.place == "cdn":
            self._large(path.rsplit("/", 1)[1])
        elif path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"))
        else:
            repo_id, _, rest = path.lstrip("/").partition("/resolve/")
            self._resolve(repo_id, rest.partition("/")[2])

    def _token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def _found(self, repo_id: str) -> Repository | None:
        """Find a repository, or refuse as the Hub does."""
        token = self._token()
        if token is not None and token not in self.hub.tokens:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif repo_id not in self.hub.repositories:
            # Who does not say who they are does not learn whether a private repository exists.
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        else:
            return self.hub.repositories[repo_id]
        return None

    def _api(self, rest: str) -> None:
        parts = rest.split("/")
        repository = self._found("/".join(parts[:2]))
        if repository is None:
            return
        if parts[2:3] == ["tree"]:
            self._tree(repository)
        elif parts[2:] in ([], ["revision", "main"]):
            info = {"id": "/".join(parts[:2]), "sha": repository.commit, "private": False, "tags": [], "siblings": []}
            self._json({**info, "gated": "manual" if repository.gated else False})
        else:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")

    def _tree(self, repository: Repository) -> None:
        entries = [_entry(name, content) for name, content in sorted(repository.files.items())]
        entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "vae"}]
        begin = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        address = f"{self.hub.url}{urlsplit(self.path).path}?recursive=True&cursor={begin + TREE_PAGE}"
        more = {"Link": f'<{address}>; rel="next"'} if begin + TREE_PAGE < len(entries) else {}
        self._json(entries[begin : begin + TREE_PAGE], **more)

    def _resolve(self, repo_id: str, name: str) -> None:
        repository = self._found(repo_id)
        if repository is None:
            return
        if repository.gated and self._token() not in repository.readers:
            self._refuse(403 if self._token() else 401, "GatedRepo", "Access to this model is restricted")
            return
        content = repository.files.get(name)
        commit = {"X-Repo-Commit": repository.commit}
        if content is None:
            self._refuse(404, "EntryNotFound", "Entry not found", **commit)
        elif name.endswith(_LARGE):
            digest = hashlib.sha256(content).hexdigest()
            linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            address = f"{self.hub.cdn_url}/large/{digest}?signature=secret"
            self._answer(302, b"", {**commit, **linked, "Location": address})
        else:
            self._answer(200, content, {**commit, "ETag": f'"{_git_hash(content)}"'})

    def _large(self, digest: str) -> None:
        contents = [content for found in self.hub.repositories.values() for content in found.files.values()]
        content = next(found for found in contents if hashlib.sha256(found).hexdigest() == digest)
        content = content[: len(content) - self.hub.shortened_bytes]
        asked = self.headers.get("Range")
        begin = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        place = {"Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"} if asked else {}
        self._answer(206 if asked else 200, content[begin:], {"ETag": f'"{digest}"', **place}, large=True)

    def _json(self, value: Any, **headers: str) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})

    def _refuse(self, status: int, code: str, message: str, **headers: str) -> None:
        named = {"X-Error-Code": code, "X-Error-Message": message, "X-Request-Id": "request-1"}
        given = {name: value for name, value in named.items() if value}
        self._answer(status, json.dumps({"error": message}).encode(), {**given, **headers})

    def _answer(self, status: int, content: bytes, headers: Mapping[str, str], *, large: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = large and self.hub.cuts_bytes and self.hub.cuts_bytes[0] < len(content)
        limit = self.hub.cuts_bytes.pop(0) if cut else len(content)
        try:
            for begin in range(0, limit, _CHUNK_BYTES):
                self.wfile.write(content[begin : min(begin + _CHUNK_BYTES, limit)])
                if large and self.hub.stalls:
                    self.wfile.flush()
                    self.hub.go_on.wait(30)
        except OSError:
            limit = -1  # the client left
        if limit < len(content):
            self.close_connection = True


def _entry(name: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "oid": _git_hash(content), "size": len(content), "path": name}
    if name.endswith(_LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
