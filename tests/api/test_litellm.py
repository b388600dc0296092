"""LiteLLM speaks to the service as to a vLLM host. It pins other versions than we do: an environment of its own has it.

python -m venv litellm && litellm/bin/pip install litellm
LITELLM_PYTHON=litellm/bin/python pytest tests/api/test_litellm.py
"""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.api.served import Served

PYTHON = os.environ.get("LITELLM_PYTHON")
SCRIPT = """
import sys, time, litellm
here = {"api_base": sys.argv[1], "api_key": "none", "custom_llm_provider": "hosted_vllm"}
video = litellm.video_generation(prompt="a gull", model="hosted_vllm/embedded", seconds="1", **here)
until = time.monotonic() + 60
while (found := litellm.video_status(video_id=video.id, **here)).status not in {"completed", "failed"}:
    assert time.monotonic() < until
    time.sleep(0.1)
content = litellm.video_content(video_id=video.id, **here)
print(found.status, found.size, content[4:8])
"""


@pytest.mark.skipif(PYTHON is None, reason="LITELLM_PYTHON names no interpreter with LiteLLM")
def test_litellm_makes_and_fetches_a_video(served: Served) -> None:
    found = subprocess.run(
        [str(PYTHON), "-c", SCRIPT, f"{served.url}/v1"], capture_output=True, text=True, check=False, timeout=120
    )
    assert found.returncode == 0, found.stderr[-3000:]
    assert found.stdout.split("\n")[-2] == "completed 64x48 b'ftyp'"
