"""The command line: arguments to a request, a result to text."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command and leave with its exit code: 0 done, 1 failed, 2 bad usage or input, 130 interrupted."""
    from cinelet.cli.app import run
    from cinelet.garbage import end_without_a_look

    code = run(sys.argv[1:])
    if code == INTERRUPTED:
        # Everything of ours is stopped and removed by now. The interpreter's own exit would still wait for threads
        # of libraries that cannot be interrupted, such as the loading of a large model.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    end_without_a_look()
    sys.exit(code)
