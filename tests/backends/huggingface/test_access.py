"""Which host sees which credential."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.backends.huggingface.access import ROUTER_HOST, Access, ForeignAddressError
from cinelet.backends.huggingface.providers import PROVIDERS
from tests.fake_providers import HF_TOKEN, KEYS

NAMES = sorted(PROVIDERS)


def access(name: str, *, routed: bool, bill_to: str | None = None) -> Access:
    secret = HF_TOKEN if routed else KEYS[name]
    return Access(PROVIDERS[name], secret, routed=routed, bill_to=bill_to)


@pytest.mark.parametrize("name", NAMES)
def test_an_own_address_is_asked_directly_or_behind_the_router(name: str) -> None:
    for host in PROVIDERS[name].hosts:
        given_url = f"https://{host}/v1/jobs/abc-1?x=1#y"
        assert str(access(name, routed=False).url(given_url)) == f"https://{host}/v1/jobs/abc-1"
        query = "?_subdomain=queue" if name == "fal-ai" else ""
        assert str(access(name, routed=True).url(given_url)) == f"https://{ROUTER_HOST}/{name}/v1/jobs/abc-1{query}"


def test_an_address_that_is_behind_the_router_already_stays_there() -> None:
    routed = f"https://{ROUTER_HOST}/fal-ai/fal-ai/wan/requests/1"
    assert str(access("fal-ai", routed=True).url(routed)) == f"{routed}?_subdomain=queue"
    with pytest.raises(ForeignAddressError):
        access("fal-ai", routed=False).url(routed)
    with pytest.raises(ForeignAddressError):
        access("together", routed=True).url(routed)


@pytest.mark.parametrize("name", NAMES)
def test_the_headers_are_those_of_the_way(name: str) -> None:
    scheme = "Key" if name == "fal-ai" else "Bearer"
    assert access(name, routed=False, bill_to="org").headers() == {"authorization": f"{scheme} {KEYS[name]}"}
    assert access(name, routed=True).headers() == {"authorization": f"Bearer {HF_TOKEN}"}
    assert access(name, routed=True, bill_to="org").headers()["x-hf-bill-to"] == "org"


@pytest.mark.parametrize("name", NAMES)
def test_what_the_library_built_is_checked_as_well(name: str) -> None:
    own = next(iter(PROVIDERS[name].hosts))
    access(name, routed=False).require_own(f"https://{own}/x")
    access(name, routed=True).require_own(f"https://{ROUTER_HOST}/{name}/x")
    for routed, address in (
        (True, f"https://{own}/x"),
        (False, f"https://{ROUTER_HOST}/{name}/x"),
        (False, f"http://{own}/x"),
        (False, f"https://{own}:444/x"),
    ):
        with pytest.raises(ForeignAddressError):
            access(name, routed=routed).require_own(address)


@given(
    text=st.text(max_size=60) | st.from_regex(r"https://[a-z.@:/\\?#%0-9]{0,40}(queue\.fal\.run)?[a-z./\\@:?#%]{0,20}"),
    name=st.sampled_from(NAMES),
    routed=st.booleans(),
)
def test_no_text_leads_a_credential_to_another_host(text: str, name: str, routed: bool) -> None:
    way = access(name, routed=routed)
    try:
        url = way.url(text)
    except ForeignAddressError:
        return
    assert url.scheme == "https"
    assert url.host in ({ROUTER_HOST} if routed else PROVIDERS[name].hosts)
    assert not url.userinfo
    assert url.port is None
    assert not routed or url.path.startswith(f"/{name}/") or url.path == f"/{name}"
