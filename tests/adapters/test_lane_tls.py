"""The own lane over TLS."""

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from neuroroute.adapters.lane import HttpLane
from neuroroute.adapters.transport import Transport
from neuroroute.core.errors import ConnectFailed
from neuroroute.core.money import Reservation
from neuroroute.core.types import Timeouts, UpstreamRequest
from tests.support.upstream import STALL, Upstream, sse, whole


async def post(transport: Transport, url: str, body: bytes = b"{}") -> tuple[int, bytes]:
    async with transport.open(UpstreamRequest(url, {}, body), Timeouts(), Reservation(0)) as response:
        return response.status, await response.read()


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 and localhost that nobody signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


async def test_tls(tmp_path: Path) -> None:
    path = certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    trusting = ssl.create_default_context(cafile=str(path))
    data = bytes(range(256)) * 4096
    async with Upstream(ssl_context=server) as provider:
        url = provider.url.replace("127.0.0.1", "localhost")
        transport = Transport(HttpLane(trusting))
        provider.will(whole(data), sse({"n": 1}, 0.05, {"n": 2}), whole(b"ok"), sse({"n": 1}, STALL))
        assert await post(transport, url, data) == (200, data)
        assert provider.seen[0].body == data
        async with transport.open(UpstreamRequest(url, {}, b""), Timeouts(), Reservation(0)) as response:
            assert await response.readany() == b'data: {"n":1}\n\n'
            assert (await response.readany()).startswith(b'data: {"n":2}\n\n')
            while await response.readany():
                pass
        assert await post(transport, url) == (200, b"ok")
        assert provider.connections == 1
        async with transport.open(UpstreamRequest(url, {}, b""), Timeouts(), Reservation(0)) as response:
            await response.readany()
        await asyncio.wait_for(provider.seen[-1].gone.wait(), 1)
        with pytest.raises(ConnectFailed):  # the name is not in the certificate
            await post(transport, provider.url)
        with pytest.raises(ConnectFailed):  # nobody trusts it
            await post(Transport(HttpLane()), url)
        await transport.close()
