"""Libraries whose packages import each other in circles are imported by one thread at a time."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, sys, tempfile
from pathlib import Path

from cinelet.backends import embedded
from cinelet.backends.diffusers import DiffusersBackend, libraries
from cinelet.domain.backend import Context
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest

CIRCLES = ("peft.", "transformers.models.", "transformers.modeling_utils", "transformers.integrations.",
           "diffusers.loaders", "diffusers.models.", "diffusers.pipelines.")


class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(CIRCLES):
            print("alone" if libraries._lock._is_owned() else f"beside others: {name}")


sys.meta_path.insert(0, Watch())


async def main(folder):
    backend = DiffusersBackend(directories={"embedded": embedded.directory()}, device="cpu")
    model = ModelReference.parse("embedded")
    request = VideoRequest(
        task=Task.TEXT_TO_VIDEO, model="embedded", prompt="a red circle", duration=1, num_inference_steps=2
    )
    await asyncio.gather(
        backend.load(model, Context(folder)), backend.generate(request, Context(folder)), backend.capabilities(model)
    )
    await backend.aclose()


with tempfile.TemporaryDirectory() as name:
    asyncio.run(main(Path(name)))
"""


def test_no_two_threads_import_at_once_what_imports_in_circles() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    told = done.stdout.splitlines()
    assert told.count("alone") > 100
    assert [line for line in told if line != "alone"] == []
