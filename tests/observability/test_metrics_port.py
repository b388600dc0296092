"""The port of a worker: it is read, and nothing else."""

from __future__ import annotations

import socket

import httpx2
import pytest

from cinelet.domain.errors import ValidationError
from cinelet.observability.exposition import ProcessMetrics
from cinelet.observability.metrics_port import serve_metrics


@pytest.fixture(scope="module")
def address():
    return serve_metrics(ProcessMetrics("remote"), host="127.0.0.1", port=0)


def test_metrics_are_read_in_both_formats(address):
    plain = httpx2.get(address)
    assert plain.status_code == 200
    assert 'process_start_time_seconds{process="remote"}' in plain.text
    openmetrics = httpx2.get(address, headers={"accept": "application/openmetrics-text;version=1.0.0"})
    assert openmetrics.text.endswith("# EOF\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_but_reading_is_allowed(address, method):
    assert httpx2.request(method, address).status_code == 405


def test_a_choice_of_names_breaks_nothing(address):
    assert httpx2.get(address, params={"name[]": "process_open_fds"}).status_code == 200


def test_a_port_that_is_taken_is_refused_by_name():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValidationError, match=rf"127\.0\.0\.1:{port} cannot be listened on.*--metrics-port"):
            serve_metrics(ProcessMetrics("remote"), host="127.0.0.1", port=port)


def test_an_address_that_is_none_is_refused_by_name():
    with pytest.raises(ValidationError, match=r"no\.such\.host\.invalid:0 cannot be listened on"):
        serve_metrics(ProcessMetrics("remote"), host="no.such.host.invalid", port=0)
