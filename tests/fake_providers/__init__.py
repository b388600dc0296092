"""The services behind remote models, as they are on the wire, on one loopback port.

`FakeInternet` is all of it: the Hub, the router, five providers with their download hosts, and a dedicated endpoint.
Clients keep their production URLs and reach it through its transports; nothing leaves the machine.
"""

from __future__ import annotations

from tests.fake_providers.accounts import HF_TOKEN, KEYS, OTHER_HF_TOKEN
from tests.fake_providers.endpoint import ENDPOINT_URL
from tests.fake_providers.hub import I2V_MODEL, T2V_MODEL
from tests.fake_providers.internet import FakeInternet
from tests.fake_providers.jobs import Job
from tests.fake_providers.traffic import Received
from tests.fake_providers.wire import Wire

__all__ = [
    "ENDPOINT_URL",
    "HF_TOKEN",
    "I2V_MODEL",
    "KEYS",
    "OTHER_HF_TOKEN",
    "T2V_MODEL",
    "FakeInternet",
    "Job",
    "Received",
    "Wire",
]
