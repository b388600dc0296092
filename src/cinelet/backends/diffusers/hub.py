"""Models of the Hugging Face Hub, brought to this machine: checked first, and only the files that are needed."""

from __future__ import annotations

import functools
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self, TypeVar

from cinelet.backends.diffusers.arguments import check_task, pipeline_classes
from cinelet.backends.diffusers.families import family_of
from cinelet.backends.diffusers.hub_errors import errors_about
from cinelet.backends.diffusers.model_folder import INDEX_NAME, ModelFolder, read_index
from cinelet.backends.diffusers.tensors import Elements, Unread, counted, together
from cinelet.backends.diffusers.weight_files import needed_files
from cinelet.domain.amount import amount
from cinelet.domain.backend import Context
from cinelet.domain.errors import CapacityError, ModelNotFoundError
from cinelet.domain.progress import Stage
from cinelet.domain.request import Task
from cinelet.observability.logs import get_logger

DOWNLOADED = 0.01
"""The fraction of a generation at the end of its download. Most have none, and its bytes have a count of their own."""
FILES_AT_ONCE = 4
ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.1
STOP_SECONDS = 2.0

_Result = TypeVar("_Result")


def download(
    repo_id: str,
    *,
    cache_dir: Path | None,
    token: str | None,
    endpoint: str | None,
    context: Context | None,
    weights: bool,
    task: Task | None = None,
    check_fits: CheckFits | None = None,
) -> Path:
    """Return the folder of a model's current revision in the Hub's cache, complete.

    What is there already is not fetched again, and needs no network. weights: False brings the configurations only.
    A model that cannot be used, or not for `task`, is refused on its index and its list of files, before its weights
    come. check_fits: raises if the weights are more than the machine can hold.
    Raises `ModelNotFoundError`, `AuthenticationError`, `RateLimitError`, `HuggingFaceAPIError`,
    `ModelUnsupportedError`, `CapacityError` where the disk has no room, `ProcessingError` where the cache cannot be
    written, and soon after a cancel what `context.check()` raises.
    """
    with errors_about(repo_id, with_token=token is not None):
        repository = _Repository.resolve(repo_id, cache_dir=cache_dir, token=token, endpoint=endpoint, context=context)
        folder = _in_time(repository.open, context)
        if not (folder / INDEX_NAME).is_file():
            message = f"{repo_id} is on the Hub, but is no diffusers model: it has no {INDEX_NAME}"
            raise ModelNotFoundError(f"{message}; use a model in diffusers' format")
        model = read_index(folder, repo_id)
        classes = pipeline_classes(model, family_of(model.class_name))
        if task is not None:
            check_task(task, classes, repo_id)
        sizes = repository.sizes(folder)
        needed = needed_files(sizes, model.components, weights=weights, reference=repo_id)
        missing = {name: sizes[name] for name in needed if not (folder / name).is_file()}
        if missing:
            if check_fits is not None:
                check_fits(repo_id, _Unread(repository, model, missing))
            _check_room(repository.cache_dir, needed_bytes=sum(missing.values()), repo_id=repo_id)
            get_logger(__name__).info(
                "Downloading a model", extra={"model": repo_id, "files": len(missing), "bytes": sum(missing.values())}
            )
            _fetch(missing, repository.fetch, context)
    return folder


CheckFits = Callable[[str, Unread], None]


class _Unread:
    """Some files of a model's weights."""

    def __init__(self, repository: _Repository, model: ModelFolder, sizes: Mapping[str, int]) -> None:
        self._repository = repository
        self._components = model.components
        self._sizes = {name: size for name, size in sizes.items() if name.endswith(".safetensors")}
        self.size_bytes = sum(self._sizes.values())

    def tensors(self) -> Mapping[str, Elements]:
        """Read the headers side by side."""
        with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="cinelet-headers") as pool:
            found = list(zip(self._sizes, pool.map(self._repository.elements, self._sizes), strict=True))
        return {
            component: together(elements for name, elements in found if PurePosixPath(name).parts[0] == component)
            for component in self._components
        }


def download_file(
    repo_id: str,
    choose: Callable[[Mapping[str, int]], str],
    *,
    cache_dir: Path | None,
    token: str | None,
    endpoint: str | None,
    context: Context | None,
) -> Path:
    """Return one file of a repository's current revision, from the Hub's cache or brought there.

    choose: picks it among the files (path -> bytes), or raises. Raises as `download` does.
    """
    with errors_about(repo_id, with_token=token is not None):
        repository = _Repository.resolve(repo_id, cache_dir=cache_dir, token=token, endpoint=endpoint, context=context)
        folder = _in_time(repository.open, context)
        sizes = repository.sizes(folder)
        name = choose(sizes)
        if not (folder / name).is_file():
            _check_room(repository.cache_dir, needed_bytes=sizes[name], repo_id=repo_id)
            _fetch({name: sizes[name]}, repository.fetch, context)
    return folder / name


@dataclass(frozen=True, slots=True)
class _Repository:
    """A repository at one commit, and how to ask for it."""

    repo_id: str
    revision: Any
    cache_dir: Path
    token: str | bool
    endpoint: str | None

    @classmethod
    def resolve(
        cls, repo_id: str, *, cache_dir: Path | None, token: str | None, endpoint: str | None, context: Context | None
    ) -> Self:
        """Ask the Hub for the current commit; if it does not answer, take the last one known."""
        from huggingface_hub import HfApi, constants, is_offline_mode

        folder = Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir).expanduser()
        # False: no token is not the same as whichever token lies on this machine.
        given = False if token is None else token
        api = HfApi(endpoint=endpoint, token=given, library_name="cinelet")
        resolve = functools.partial(api.resolve_revision, repo_id, cache_dir=folder)
        try:
            revision = _in_time(functools.partial(resolve, local_files_only=is_offline_mode()), context)
        except TimeoutError:
            revision = resolve(local_files_only=True)
        return cls(repo_id, revision, folder, given, endpoint)

    def open(self) -> Path:
        """Return the commit's folder, with the model's index if it has one."""
        from huggingface_hub import is_offline_mode, snapshot_download

        folder = snapshot_download(
            self.repo_id,
            revision=self.revision,
            allow_patterns=[INDEX_NAME],
            local_files_only=is_offline_mode(),
            tqdm_class=_Bar,
            cache_dir=self.cache_dir,
            token=self.token,
            endpoint=self.endpoint,
        )
        return Path(folder)

    def sizes(self, folder: Path) -> Mapping[str, int]:
        """Return the bytes of each file of the commit, by its path."""
        from huggingface_hub import get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError

        try:
            tree = get_cached_repo_tree(self.repo_id, revision=self.revision, cache_dir=self.cache_dir)
        except CachedRepoTreeNotFoundError:
            # Offline, and brought here by an older program, which kept no list: what is there is what there is.
            files = (file for file in folder.rglob("*") if file.is_file())
            return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}
        return {file.path: file.size for file in tree}

    def elements(self, path: str) -> Elements:
        """Return how many numbers of each type a safetensors file has, from its header."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint, token=self.token, library_name="cinelet")
        header = api.parse_safetensors_file_metadata(self.repo_id, path, revision=self.revision.resolved)
        return counted((tensor.dtype, tensor.shape) for tensor in header.tensors.values())

    def fetch(self, path: str, bar_class: type) -> None:
        """Bring one file, and count its bytes on a `bar_class`."""
        from huggingface_hub import hf_hub_download

        hf_hub_download(
            self.repo_id,
            path,
            revision=self.revision.resolved,
            tqdm_class=bar_class,
            cache_dir=self.cache_dir,
            token=self.token,
            endpoint=self.endpoint,
        )


def _in_time(ask: Callable[[], _Result], context: Context | None) -> _Result:
    """Wait for an answer of the Hub, or raise `TimeoutError`; the library sets questions no limit of time."""
    answer: Future[_Result] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # noqa: BLE001  (raised in the thread that waits)
            answer.set_exception(error)

    # A thread that does not keep the program from its end, as those of a pool would.
    threading.Thread(target=run, name="cinelet-hub", daemon=True).start()
    latest = time.monotonic() + ANSWER_SECONDS
    while not answer.done():
        wait([answer], timeout=POLL_SECONDS)
        if context is not None:
            context.check()
        if time.monotonic() > latest and not answer.done():
            raise TimeoutError
    return answer.result()


def _check_room(cache_dir: Path, *, needed_bytes: int, repo_id: str) -> None:
    place = next(folder for folder in (cache_dir, *cache_dir.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        message = f"{repo_id} needs {amount(needed_bytes)}, and {cache_dir} has {amount(free)} free"
        raise CapacityError(f"{message}; free some space, or set HF_HUB_CACHE to a folder on another disk")


def _fetch(sizes: Mapping[str, int], fetch: Callable[[str, type], None], context: Context | None) -> None:
    """Fetch files side by side; stop all of them as soon as one fails or the context says so."""
    total = sum(sizes.values())
    counted = _Counted()
    pool = ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="cinelet-download")
    pending: set[Future[None]] = {pool.submit(fetch, name, counted.bar_class()) for name in sizes}
    try:
        while pending:
            finished, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
            if context is not None:
                context.check()
                done = min(counted.bytes, total) if pending else total
                fraction = DOWNLOADED * done / max(total, 1)
                context.report(Stage.DOWNLOADING, fraction, step=done, steps=total)
    finally:
        counted.stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
        if pending:
            _abort_transfers()
            # A connection that brings nothing ends by its own timeout, later than anybody would wait.
            wait(pending, timeout=STOP_SECONDS)


def _abort_transfers() -> None:
    """End the downloads of the transfer library, which asks no bar whether to go on."""
    # What huggingface_hub itself calls on Ctrl-C. It ends other models' transfers too; those can be tried again.
    from huggingface_hub.utils._xet import abort_xet_session

    abort_xet_session()  # type: ignore[no-untyped-call]


class _StoppedError(Exception):
    """Ends a thread whose download nobody wants any more."""


class _Counted:
    """The bytes that came, of all files together; safe to use from many threads."""

    def __init__(self) -> None:
        self.bytes = 0
        self.stopped = threading.Event()
        self._lock = threading.Lock()

    def add(self, count: float) -> None:
        """Count bytes (fewer than none where a file begins again), or stop the thread that brings them."""
        if self.stopped.is_set():
            raise _StoppedError
        with self._lock:
            self.bytes += int(count)

    def bar_class(self) -> type[_Bar]:
        """Return the class of bars that count here."""
        return type("_CountingBar", (_Bar,), {"_counted": self})


class _Bar:
    """As much of a tqdm bar as `huggingface_hub` uses; shows nothing."""

    _counted: _Counted | None = None

    def __init__(self, *_: object, total: float | None = None, initial: float = 0, **__: object) -> None:
        self.total = total
        self.n = initial
        self.format_dict: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, n: float | None = 1) -> None:
        """Count bytes that are on the disk."""
        self.n += n or 0
        if self._counted is not None:
            self._counted.add(n or 0)

    def update_transfer(self, n: float | None = 1) -> None:
        """Count nothing: bytes that came over the network are counted when they are on the disk."""

    def close(self) -> None:
        """Count no more."""

    def refresh(self, *_: object, **__: object) -> None:
        """Accept a text or a redraw that nobody sees."""

    set_description = set_description_str = set_postfix_str = set_transfer_postfix_str = refresh
