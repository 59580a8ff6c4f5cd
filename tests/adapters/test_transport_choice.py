"""Which way a request goes: the own lane, aiohttp's client, or a proxy."""

from collections.abc import AsyncIterator

import pytest

from neuroroute.adapters.transport import Transport
from neuroroute.core.errors import ConnectFailed
from neuroroute.core.money import Reservation
from neuroroute.core.types import Timeouts, UpstreamRequest
from tests.support.upstream import Upstream, whole


@pytest.fixture
async def provider() -> AsyncIterator[Upstream]:
    async with Upstream() as provider:
        yield provider


async def test_through_a_proxy(provider: Upstream) -> None:
    """The provider plays the proxy: it sees whole URLs."""
    transport = Transport(proxies={"http": f"127.0.0.1:{provider.port}", "no": "direct.invalid"})
    provider.will(whole(b"ok"), whole(b"here"))
    async with transport.open(UpstreamRequest("http://api.invalid/v1/x?a=1", {}, b"{}"), Timeouts(), Reservation(0)) as response:
        assert await response.read() == b"ok"
    assert (provider.seen[0].headers["host"], provider.seen[0].path) == ("api.invalid", "/v1/x")
    async with transport.open(UpstreamRequest(provider.base_url, {}, b"{}"), Timeouts(), Reservation(0)) as response:
        assert await response.read() == b"here"
    assert provider.seen[1].headers["host"] == f"127.0.0.1:{provider.port}"
    with pytest.raises(ConnectFailed):
        async with transport.open(UpstreamRequest("http://direct.invalid/", {}, b"{}"), Timeouts(), Reservation(0)):
            pass
    await transport.close()


async def test_a_proxy_that_refuses(provider: Upstream) -> None:
    transport = Transport(proxies={"https": provider.url})
    provider.will(whole(b"no", 407))
    with pytest.raises(ConnectFailed):
        async with transport.open(UpstreamRequest("https://api.invalid/", {}, b"{}"), Timeouts(), Reservation(0)):
            pass
    assert provider.seen[0].method == "CONNECT"
    await transport.close()


async def test_what_the_own_lane_does_not_speak_goes_by_the_other(provider: Upstream) -> None:
    transport = Transport(proxies={})
    provider.will(whole(b"", x_thing="1"), whole(b"ok"))
    async with transport.open(UpstreamRequest(provider.base_url, {}, b"", method="HEAD"), Timeouts(), Reservation(0)) as response:
        assert (response.headers["x-thing"], await response.read()) == ("1", b"")
    url = provider.base_url.replace("http://", "http://user:pass@")
    async with transport.open(UpstreamRequest(url, {}, b""), Timeouts(), Reservation(0)) as response:
        assert await response.read() == b"ok"
    assert provider.seen[1].headers["authorization"].startswith("Basic ")
    await transport.close()
