"""Dumps of the database, made and read by PostgreSQL's own programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import Identifier

from cinelet.jobs.errors import DatabaseError
from cinelet.jobs.private_server import programs

LOCK_SECONDS = 10
"""How long a restore waits for others to let go of the tables."""
OPTIONAL_INDEX = " generation_texts_by_part "
"""Left out of a restore, as not every server has what it needs: `index_texts` makes it where there is that."""


def dump(path: Path, *, conninfo: str, schema: str) -> None:
    """Write a schema to a file in PostgreSQL's custom format; it appears whole. Blocks. Raises `DatabaseError`."""
    part = path.with_name(f".{path.name}.part")
    try:
        # It holds prompts: nobody else may read it, from the first byte on.
        part.unlink(missing_ok=True)
        part.touch(mode=0o600, exist_ok=False)
        what = ["--format=custom", "--no-owner", "--no-privileges", "--no-unlogged-table-data"]
        what.append(f"--schema={Identifier(schema).as_string()}")
        _run("pg_dump", *what, f"--file={part}", conninfo=conninfo, doing="dumped")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise DatabaseError(f"The dump {path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def restore(path: Path, *, conninfo: str, schema: str) -> None:
    """Replace a schema by what a dump of it holds, in one transaction. Blocks. Raises `DatabaseError`."""
    if not path.is_file():
        raise DatabaseError(f"There is no dump {path}; make one with: cinelet db dump {path}")
    with tempfile.TemporaryDirectory(prefix="cinelet-restore-") as folder:
        script, contents = Path(folder, "restore.sql"), Path(folder, "contents")
        doing = f"restored from {path}"
        _run("pg_restore", "--list", f"--file={contents}", str(path), conninfo=None, doing=doing)
        lines = contents.read_text(encoding="utf-8").splitlines()
        contents.write_text("\n".join(line for line in lines if OPTIONAL_INDEX not in line), encoding="utf-8")
        # The whole dump is read before anything is dropped.
        what = ["--no-owner", "--no-privileges", f"--use-list={contents}", f"--file={script}"]
        _run("pg_restore", *what, str(path), conninfo=None, doing=doing)
        name = Identifier(schema).as_string()
        _run(
            *("psql", "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"),
            f"--command=SET lock_timeout = '{LOCK_SECONDS}s'",
            f"--command=DROP SCHEMA IF EXISTS {name} CASCADE",
            f"--file={script}",
            conninfo=conninfo,
            doing=doing,
        )


def _run(program: str, *arguments: str, conninfo: str | None, doing: str) -> None:
    """Run a program of PostgreSQL: the wheel's, else the one on PATH."""
    bundled = programs() / program
    executable = str(bundled) if bundled.exists() else shutil.which(program)
    if executable is None:
        raise DatabaseError(f"The database cannot be {doing}: {program} is missing; install PostgreSQL's client")
    with tempfile.TemporaryDirectory(prefix="cinelet-") as folder:
        target = [] if conninfo is None else [f"--dbname={_without_password(conninfo, folder=Path(folder))}"]
        command = [executable, *target, *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "rror:" in line or "ERROR" in line or "FATAL" in line]
        why = (lines or done.stderr.splitlines() or [f"exit status {done.returncode}"])[0].strip()[:300]
        raise DatabaseError(f"The database cannot be {doing}: {why}")


def _without_password(conninfo: str, *, folder: Path) -> str:
    """Move the password to a file: other users of the machine can read the arguments of a program."""
    values = conninfo_to_dict(conninfo)
    password = values.pop("password", None)
    if password is not None:
        escaped = str(password).replace("\\", "\\\\").replace(":", "\\:")
        file = folder / "pgpass"
        file.touch(mode=0o600)
        file.write_text(f"*:*:*:*:{escaped}\n", encoding="utf-8")
        values["passfile"] = str(file)
    return make_conninfo("", **values)
