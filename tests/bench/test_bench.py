"""The harness measures what it says: a short run against a proxy that works and one that does not."""

import shutil
import sys

import pytest

from tests.bench.gateway import bare, mock
from tests.bench.load import Bench, Load
from tests.bench.report import line, measure, table
from tests.bench.scenarios import Options, small, streamed

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None or shutil.which("taskset") is None, reason="needs Linux, cc and taskset"
)


def test_a_short_run() -> None:
    with mock(None) as direct, bare(direct, None, "--client", "lane", name="lane") as lane:
        bench = Bench(None, settle_s=0.0)
        whole = bench.run(lane, Load([small()], conns=4, seconds=0.3))
        assert whole["ok"] > 10 and whole["errors"] == 0
        assert 5 < whole["cpu_us_per_request"] < 20_000
        streams = bench.run(lane, Load([streamed(5, 1000)], conns=4, seconds=0.3))
        assert streams["errors"] == 0 and streams["chunks_per_s"] > 10 and streams["transit_p50_us"] > 0
        result = {"nonstream_small": measure("nonstream_small", bench, [lane, direct], direct, Options(seconds=0.2), rounds=1)}
        assert "| nonstream_small | cpu_us_per_request |" in table(result, [lane, direct])
        assert line(result).split(" | ")[0] != "-"


def test_errors_are_counted() -> None:
    with mock(None) as direct:
        direct.url = direct.url.replace("/v1", "")
        lost = Bench(None, settle_s=0.0)
        with bare(direct, None) as proxy:
            proxy.url = proxy.url.replace("/v1", "/v2")
            assert lost.run(proxy, Load([small()], conns=2, seconds=0.2))["errors"] > 0
