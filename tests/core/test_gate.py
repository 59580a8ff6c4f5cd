"""Where a key may be used: paths and addresses, and what lies within what."""

import pytest

from neuroroute.core.gate import Gate, beyond_ips, beyond_routes, network, route, written


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/v1/embeddings", True),
        ("/v1/embeddings/x", False),
        ("/v1/embedding", False),
        ("/admin", True),
        ("/admin/users", True),
        ("/Admin", False),
    ],
)
def test_paths(path: str, leads: bool) -> None:
    gate = Gate.of(["/v1/embeddings", "/admin*"], None)
    assert gate is not None and gate.leads_to(path) is leads and gate.is_open_to(None)


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("192.0.2.200", True), ("192.0.3.1", False), ("::ffff:192.0.2.1", True), ("2001:db8::9", True), ("2001:db9::9", False), ("198.51.100.7", True),
        ("198.51.100.8", False), ("fe80::1%eth0", False), ("unix", False), (None, False),
    ],
)  # fmt: skip
def test_addresses(address: str | None, is_open: bool) -> None:
    gate = Gate.of(None, ["192.0.2.0/24", "198.51.100.7", "2001:db8::/32"])
    assert gate is not None and gate.is_open_to(address) is is_open and gate.leads_to("/anything")


def test_none_is_no_gate_at_all() -> None:
    assert Gate.of(None, None) is None


@pytest.mark.parametrize("text", ["v1", "", "*", "/v1/*/x", "/v1?x", "/v1/ü", "/" + "x" * 200, "/a\n"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        route(text)


@pytest.mark.parametrize("text", ["", "example.com", "300.1.1.1", "10.0.0.0/33", "10.0.0.0-10.0.0.9"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        network(text)


def test_how_networks_are_written() -> None:
    assert [written(network(one)) for one in ("10.0.0.7", "10.0.0.7/8", "2001:DB8::1", "0.0.0.0/0")] == [
        "10.0.0.7",
        "10.0.0.0/8",
        "2001:db8::1",
        "0.0.0.0/0",
    ]


def test_what_goes_beyond() -> None:
    assert beyond_routes(["/v1/chat/completions", "/v1/chat*"], ["/v1/*"]) is None
    assert beyond_routes(["/v1*"], ["/v1/*"]) == "/v1*" and beyond_routes(["/v1/models*"], ["/v1/models"]) == "/v1/models*"
    assert beyond_ips(["10.1.0.0/16", "10.2.3.4"], ["10.0.0.0/8"]) is None
    assert beyond_ips(["10.0.0.0/7"], ["10.0.0.0/8"]) == "10.0.0.0/7" and beyond_ips(["::1"], ["0.0.0.0/0"]) == "::1"
