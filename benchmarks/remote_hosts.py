"""The hosts that `remote.py` measures against, in a process of their own: a fake internet until stdin ends.

    python benchmarks/remote_hosts.py '{"pace": {"seconds": 4}, "video_bytes": null, "faults": []}'

Prints its port when it is ready, and what it counted at the end.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any


def serve(script: dict[str, Any]) -> None:
    """Serve until stdin ends. pace: of the jobs; video_bytes: of each file; faults: arguments of `fail`."""
    from tests.fake_providers import FakeInternet

    with FakeInternet() as internet:
        internet.jobs_take(**script["pace"])
        if script["video_bytes"]:
            internet.videos_have(script["video_bytes"])
        for fault in script["faults"]:
            internet.fail(**fault)
        # The video is encoded now, not while somebody waits for it.
        print(internet.wire.port if internet.video else "", flush=True)
        sys.stdin.read()
        stages = Counter(request.stage for request in internet.requests)
        jobs = Counter(job.prompt for job in internet.jobs)
        twice = sum(count > 1 for count in jobs.values())
        paid = {"paid": internet.paid(), "paid_twice": twice}
        counts = {"posts": internet.posts, **paid, "requests": len(internet.requests), **stages}
        print(json.dumps({**counts, "cpu_seconds": time.process_time()}), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    serve(json.loads(sys.argv[1]))
