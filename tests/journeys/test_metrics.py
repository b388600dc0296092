"""One scrape shows a service with all its processes, and a worker of its own shows itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.journeys.service_process import ServiceProcess, environment_of, until

SHORT = {"model": "slow:x", "duration": 1, "fps": 4, "prompt": "a gull"}


def values(client: httpx2.Client, name: str, label: str) -> dict[str, float]:
    text = client.get("/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.labels[label]: sample.value for sample in samples if sample.name == name}


@pytest.mark.slow
def test_the_workers_of_a_service_are_in_its_answer_also_after_one_was_killed(
    tmp_path: Path, copy_data: Callable[[Path], Path]
) -> None:
    environment = environment_of(tmp_path, data=copy_data(tmp_path / "data"))
    with ServiceProcess({**environment, "CINELET_METRICS_PORT": "1"}) as service:
        client = service.client
        assert values(client, "cinelet_process_up", "process") == {"api": 1, "remote": 1, "local": 1}
        reply = client.post("/v1/text-to-video", json=SHORT, headers={"prefer": "wait=30"})
        assert reply.json()["state"] == "completed"
        assert values(client, "cinelet_videos_total", "process") == {"local": 1}
        worker = service.worker("local")
        assert worker is not None
        worker.send_signal(signal.SIGSTOP)
        assert values(client, "cinelet_process_up", "process") == {"api": 1, "remote": 1, "local": 0}
        worker.kill()
        up = {"api": 1.0, "remote": 1.0, "local": 1.0}
        until(lambda: values(client, "cinelet_process_up", "process") == up, what="the next worker")
        assert values(client, "cinelet_videos_total", "process") == {}


def test_a_worker_serves_its_metrics_at_its_port(tmp_path: Path, copy_data: Callable[[Path], Path]) -> None:
    environment = environment_of(tmp_path, data=copy_data(tmp_path / "data"))
    command = [sys.executable, "-m", "cinelet", "worker", "--queues", "remote", "--metrics-port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        stuck = threading.Timer(60, process.kill)
        stuck.start()
        try:
            found = next(found for line in process.stderr if (found := re.search(r"shows metrics at (\S+)", line)))
            text = httpx2.get(found[1]).text
        finally:
            stuck.cancel()
            os.kill(process.pid, signal.SIGTERM)
            process.stderr.read()
        assert process.wait(30) == 0
    assert found[1].startswith("http://127.0.0.1:")
    assert 'cinelet_generations_ended_total{process="remote",queue="remote",state="completed"} 0.0' in text
    assert 'process_resident_memory_bytes{process="remote"}' in text
