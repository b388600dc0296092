from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinelet.domain.errors import HuggingFaceAPIError, ValidationError
from cinelet.transport.addresses import (
    ForbiddenAddressError,
    is_public,
    public_address,
    public_addresses,
    system_resolver,
)
from tests.transport.loopback import resolves_to

NOT_PUBLIC = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.255.1.2"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.0.1"),
    *("198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "fc00::1", "fdff::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "100::1"),
    *("2001::1", "2001:2::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "3fff::1", "5f00::1", "4000::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:100.64.0.1", "::127.0.0.1"),
    *("64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8"),
    *("", "localhost", "1.2.3", "0x7f.1", "2130706433", "0177.0.0.1", "::g", "1.2.3.4.5"),
]
IS_PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1"),
    *("2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
]
INSIDE = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    *("224.0.0.0/4", "240.0.0.0/4", "::/96", "fc00::/7", "fe80::/10", "ff00::/8", "2002::/16", "2001::/32"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_inside_a_network_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", IS_PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@settings(deadline=None)  # the machine may be busy
@given(network=st.sampled_from(INSIDE), data=st.data())
def test_no_address_of_an_inner_network_is_public(network: str, data: st.DataObject) -> None:
    assert not is_public(str(data.draw(st.ip_addresses(network=network))))


@settings(deadline=None)  # the machine may be busy
@given(st.ip_addresses(v=4))
def test_an_address_inside_another_form_is_judged_as_itself(address: ipaddress.IPv4Address) -> None:
    for form in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_public(form) == is_public(str(address))


@settings(deadline=None)  # the machine may be busy
@given(st.ip_addresses())
def test_no_address_is_public_that_python_calls_private(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert not (is_public(str(address)) and address.is_private)


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=40))
def test_no_text_breaks_the_check(text: str) -> None:
    assert is_public(text) in {True, False}


def test_a_host_is_resolved_once_and_its_address_returned() -> None:
    asked = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return ["1.1.1.1", "1.0.0.1", "1.1.1.1"]

    assert asyncio.run(public_addresses("cdn.example", 443, resolve=resolve)) == ("1.1.1.1", "1.0.0.1")
    assert asked == [("cdn.example", 443)]
    assert asyncio.run(public_address("cdn.example", 443, resolve=resolve)) == "1.1.1.1"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_inner_address_among_public_ones_refuses_the_host(place: int) -> None:
    addresses = ["1.1.1.1", "8.8.8.8"]
    addresses.insert(place, "10.0.0.7")
    with pytest.raises(ForbiddenAddressError) as caught:
        asyncio.run(public_addresses("cdn.example", 443, resolve=resolves_to(*addresses)))
    assert isinstance(caught.value, ValidationError)
    assert "cdn.example" in str(caught.value)
    assert "10.0.0.7" not in str(caught.value), "the name's owner learns nothing of the network"


@pytest.mark.parametrize("host", ["x" * 64 + ".example", "no-such-host.invalid", "", "a b"])
def test_a_host_without_an_address_is_an_error_of_ours(host: str) -> None:
    async def resolve(name: str, port: int) -> Sequence[str]:
        if name.endswith(".invalid"):
            raise OSError("Name or service not known")
        return [] if len(name) < 64 else await system_resolver(name, port)

    with pytest.raises(HuggingFaceAPIError, match="has no address"):
        asyncio.run(public_addresses(host, 443, resolve=resolve))


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1", "::1"])
def test_the_system_understands_old_notations_and_they_are_refused(host: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        asyncio.run(public_addresses(host, 443))
