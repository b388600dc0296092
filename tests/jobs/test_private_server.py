"""The private server: one for all processes of a directory, gone with the last, and never in the way of the next."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from cinelet.clock import FakeClock
from cinelet.jobs.errors import DatabaseError, DatabaseUnavailableError
from cinelet.jobs.private_server import MAX_SOCKET_PATH_BYTES, PrivateServer, programs

HOLDER = Path(__file__).with_name("holder.py")


@pytest.fixture
def directory(copy_data, tmp_path_factory, processes_of):
    """Return a data directory of this test's own; no server may be left in it."""
    # A short name: a process that is killed would leave the link that a long one needs.
    directory = copy_data(tmp_path_factory.mktemp("own") / "data")
    yield directory
    left = processes_of(directory / "database" / "postgres")
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def hold(directory):
    """Start a process that uses the server, and return it when it does."""
    process = begin(directory)
    assert process.stdout.readline() == "attached\n"
    return process


def begin(directory) -> Any:
    return subprocess.Popen(
        [sys.executable, str(HOLDER), str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@contextmanager
def attached(directory):
    server = PrivateServer(directory)
    server.attach()
    try:
        yield server
    finally:
        server.leave()


def postmaster(directory):
    return int((directory / "database" / "postgres" / "postmaster.pid").read_text().split()[0])


def ask(server):
    with psycopg.connect(server.conninfo) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def test_the_wheel_has_the_programs_where_they_are_looked_for():
    assert all(
        (programs() / name).is_file() for name in ("initdb", "pg_ctl", "postgres", "pg_dump", "pg_restore", "psql")
    )


def test_two_processes_share_one_server_and_the_last_one_stops_it(directory, processes_of):
    first = hold(directory)
    server = postmaster(directory)
    second = hold(directory)
    first.communicate()
    assert postmaster(directory) == server
    assert server in processes_of(directory / "database" / "postgres")
    second.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert processes_of(directory / "database" / "postgres") == []


def test_many_processes_that_start_at_once_share_one_server(directory):
    holders = [begin(directory) for _ in range(4)]
    assert [holder.stdout.readline() for holder in holders] == ["attached\n"] * 4
    for holder in holders:
        holder.stdin.close()
    assert [holder.wait() for holder in holders] == [0] * 4
    for holder in holders:
        holder.stdout.close()


def test_two_users_in_one_process_share_the_server_too(directory, processes_of):
    with attached(directory) as first, attached(directory) as second:
        assert postmaster(directory)
        first.leave()
        first.leave()  # again, to no effect
        assert ask(second) == 1
    assert processes_of(directory / "database" / "postgres") == []


def test_leaving_and_coming_at_once_leaves_nobody_without_a_server(directory):
    def use(_):
        with attached(directory) as server:
            return ask(server)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(12))) == [True] * 12


def test_a_process_that_is_killed_does_not_keep_the_server_from_stopping(directory, processes_of):
    holder = hold(directory)
    with attached(directory) as server:
        holder.kill()
        holder.communicate()
        assert ask(server)
    assert processes_of(directory / "database" / "postgres") == []


def test_a_server_whose_last_user_was_killed_serves_the_next(directory):
    holder = hold(directory)
    running = postmaster(directory)
    holder.kill()
    holder.communicate()
    with attached(directory) as server:
        assert postmaster(directory) == running
        assert ask(server)


def test_a_killed_server_is_started_again(directory):
    with attached(directory) as server:
        killed = postmaster(directory)
        os.kill(killed, signal.SIGKILL)
        psutil.wait_procs([p for p in psutil.process_iter() if p.pid == killed])
        server.ensure_running()
        assert postmaster(directory) != killed
        assert ask(server)


def test_a_process_file_whose_number_belongs_to_another_program_now_is_not_in_the_way(directory):
    with attached(directory):
        pidfile = directory / "database" / "postgres" / "postmaster.pid"
        lines = pidfile.read_text().splitlines()
    owner = (directory / "database" / "postgres").stat()
    # A program of the server's own account, as in a container where numbers repeat.
    sleeper = subprocess.Popen(
        ["sleep", "60"], cwd="/", **({"user": owner.st_uid, "extra_groups": []} if os.geteuid() == 0 else {})
    )
    try:
        pidfile.write_text("\n".join([str(sleeper.pid), *lines[1:]]) + "\n")
        pidfile.chmod(0o600)
        os.chown(pidfile, owner.st_uid, owner.st_gid)
        with attached(directory) as server:
            assert ask(server)
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_first_start_that_was_killed_half_way_is_begun_anew(tmp_path):
    directory = tmp_path / "data"
    (directory / "database" / "postgres.new" / "base").mkdir(parents=True)
    (directory / "database" / "postgres.new" / "PG_VERSION").write_text("18\n")
    with attached(directory) as server:
        assert ask(server)
    assert not (directory / "database" / "postgres.new").exists()


def test_nobody_else_can_reach_the_server(directory):
    (directory / "database").chmod(0o755)
    with attached(directory) as server, psycopg.connect(server.conninfo) as connection:
        assert stat.S_IMODE((directory / "database").stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "database" / "postgres").stat().st_mode) == 0o700
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        process = psutil.Process(postmaster(directory))
        assert process.net_connections("inet") == []
        assert process.uids().real != 0


@pytest.mark.parametrize("temporary", ["", "long" * 30])
def test_a_directory_with_a_long_name_works(copy_data, tmp_path, monkeypatch, temporary):
    (tmp_path / "temporary" / temporary).mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary" / temporary) if temporary else None)
    directory = copy_data(tmp_path / ("long" * 30))
    with attached(directory) as server:
        assert len(str(server.folder)) > MAX_SOCKET_PATH_BYTES
        assert ask(server)
        link = Path(server.conninfo.split("host=")[1].split()[0])
        assert link.exists()
    assert not link.parent.exists()


def test_a_directory_with_a_comma_in_its_name_works(copy_data, tmp_path):
    with attached(copy_data(tmp_path / "mine, and yours")) as server:
        assert ask(server)


def test_a_directory_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match=r"file.* cannot be used for the database: Not a directory; choose another"):
        PrivateServer(tmp_path / "file" / "data").attach()


def test_a_read_only_directory_is_one_clear_line():
    with pytest.raises(DatabaseError, match=r"cannot be used for the database: .*; choose another CINELET_DATA_DIR"):
        PrivateServer(Path("/proc/cinelet")).attach()


def test_a_broken_data_folder_says_why_it_does_not_start(directory):
    (directory / "database" / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(DatabaseError, match=r"does not start: .*") as refused:
        PrivateServer(directory).attach()
    assert "\n" not in str(refused.value)


def test_a_lock_that_is_held_for_long_is_reported(directory):
    import fcntl

    with (directory / "database" / "start.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DatabaseUnavailableError, match="Another process has held"):
            PrivateServer(directory, clock=FakeClock()).attach()
