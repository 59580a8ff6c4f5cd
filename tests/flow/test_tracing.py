"""Traces, as a real OTLP receiver gets them: one span a call, attempts below it, no prompts; and the headers that providers see."""

import asyncio
import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.upstream import CUT, Upstream, error, sse, whole

SECRET_WORDS = "the prompt that nobody may read"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Receiver(Upstream):
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(lambda seen: whole(b"", content_type="application/x-protobuf"))

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        return [
            ExportTraceServiceRequest.FromString(
                gzip.decompress(seen.body) if seen.headers.get("content-encoding") == "gzip" else seen.body
            )
            for seen in self.seen
        ]

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    async def get(self, count: int) -> list[Span]:
        async with asyncio.timeout(15):
            while len(self.spans) < count:
                await asyncio.sleep(0.05)
        assert len(self.spans) == count
        return self.spans


def facts(span: Span) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        return [plain(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, kind)

    return {attribute.key: plain(attribute.value) for attribute in span.attributes}


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")


def config(*upstreams: Upstream) -> dict[str, Any]:
    names = [f"p{number}" for number in range(1, len(upstreams) + 1)]
    return {
        "providers": {name: provider(upstream.base_url) for name, upstream in zip(names, upstreams, strict=True)},
        "models": {
            "m": {**model("p1", "upstream-m"), "fallbacks": ["n"]} if len(names) > 1 else model("p1", "upstream-m"),
            **({"n": model("p2")} if len(names) > 1 else {}),
        },
    }


async def chat(gw: Gateway, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": SECRET_WORDS}], **fields}
    async with gw.post("/v1/chat/completions", body, headers=headers or {}) as response:
        await response.read()
        return response


async def test_a_call_and_its_attempts(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "our gateway")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=search")
    async with Receiver() as receiver, Upstream() as first, Upstream(fakes.openai) as second:
        first.will(error(503))
        async with gateway(database_url, config(first, second), otel_exporter_otlp_endpoint=receiver.url) as gw:
            response = await chat(gw, {"traceparent": PARENT, "tracestate": "vendor=1"})
            assert response.status == 200
            spans = await receiver.get(3)
        call = next(span for span in spans if span.kind == Span.SPAN_KIND_SERVER)
        failed, good = sorted((span for span in spans if span is not call), key=lambda span: span.start_time_unix_nano)
        assert {span.trace_id.hex() for span in spans} == {"0af7651916cd43dd8448eb211c80319c"}
        assert call.parent_span_id.hex() == "b7ad6b7169203331" and failed.parent_span_id == good.parent_span_id == call.span_id
        assert (call.name, failed.name, good.name) == ("chat m", "chat upstream-m", "chat n")
        said = facts(call)
        assert said["gen_ai.operation.name"] == "chat" and said["gen_ai.request.model"] == "m" and said["gen_ai.response.model"] == "n"
        assert said["gen_ai.provider.name"] == "p2" and said["gen_ai.response.finish_reasons"] == ["stop"]
        assert said["gen_ai.usage.input_tokens"] > 0 and said["gen_ai.usage.output_tokens"] > 0
        assert (said["neuroroute.attempts"], said["neuroroute.status"], said["http.response.status_code"]) == (2, "ok", 200)
        assert said["neuroroute.request_id"] == response.headers["x-request-id"] and said["neuroroute.cost_usd"] > 0
        tried = facts(failed)
        assert tried["error.type"] == "UpstreamBusy" and tried["neuroroute.target"] == "p1/m" and tried["server.address"] == "127.0.0.1"
        assert tried["server.port"] == first.port and failed.status.code == 2 and good.status.code == call.status.code == 0
        assert call.start_time_unix_nano <= failed.start_time_unix_nano < failed.end_time_unix_nano <= good.start_time_unix_nano
        assert good.end_time_unix_nano <= call.end_time_unix_nano
        for upstream, span in ((first, failed), (second, good)):
            assert upstream.seen[0].headers["traceparent"] == f"00-0af7651916cd43dd8448eb211c80319c-{span.span_id.hex()}-01"
            assert upstream.seen[0].headers["tracestate"] == "vendor=1"
        resource = {a.key: a.value.string_value for a in receiver.requests[0].resource_spans[0].resource.attributes}
        assert resource["service.name"] == "our gateway" and receiver.seen[0].headers["x-team"] == "search"
        assert receiver.seen[0].path == "/v1/traces"
        everything = b"".join(request.SerializeToString() for request in receiver.requests)
        for word in (SECRET_WORDS, "Echo", "sk-upstream-secret", gw.key):
            assert word.encode() not in everything


async def test_streams_hits_and_cuts(database_url: str) -> None:
    async with Receiver() as receiver, Upstream(fakes.openai) as upstream:
        async with gateway(database_url, config(upstream), otel_exporter_otlp_endpoint=receiver.url) as gw:
            await chat(gw, stream=True, stream_options={"include_usage": True})
            await chat(gw, temperature=0)
            await chat(gw, temperature=0)
            piece = {
                "id": "c",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "delta": {"content": "x"}}],
            }
            upstream.will(sse(piece, 0.05, piece, 0.1, CUT))
            await chat(gw, stream=True, max_tokens=7)
            spans = await receiver.get(7)
        calls = sorted((span for span in spans if span.kind == Span.SPAN_KIND_SERVER), key=lambda span: span.start_time_unix_nano)
        streamed, missed, hit, cut = (facts(span) for span in calls)
        assert streamed["gen_ai.request.stream"] is True and 0 < streamed["gen_ai.response.time_to_first_chunk"] < 10
        assert (missed["neuroroute.cache"], hit["neuroroute.cache"], hit["neuroroute.attempts"]) == ("miss", "hit", 0)
        assert cut["neuroroute.status"] == "cut" and cut["error.type"] and calls[3].status.code == 2
        assert len({span.trace_id for span in calls}) == 4 and not any(span.parent_span_id for span in calls)
        [tried] = [span for span in spans if span.parent_span_id == calls[3].span_id]
        assert (
            facts(tried)["error.type"] in ("StreamCut", "UpstreamBroken") and tried.end_time_unix_nano - tried.start_time_unix_nano > 100e6
        )


@pytest.mark.parametrize(
    ("sampler", "argument", "parent", "kept"),
    [
        ("always_off", "", None, False),
        ("parentbased_always_on", "", PARENT, True),
        ("parentbased_always_on", "", PARENT[:-2] + "00", False),
        ("always_on", "", PARENT[:-2] + "00", True),
        ("traceidratio", "0", None, False),
    ],
)
async def test_the_standard_sampler_decides(
    database_url: str, monkeypatch: pytest.MonkeyPatch, sampler: str, argument: str, parent: str | None, kept: bool
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument or "1")
    async with Receiver() as receiver, Upstream(fakes.openai) as upstream:
        async with gateway(database_url, config(upstream), otel_exporter_otlp_endpoint=receiver.url) as gw:
            await chat(gw, {"traceparent": parent} if parent else None)
        assert len(receiver.spans) == (2 if kept else 0)
        assert upstream.seen[0].headers["traceparent"].endswith("-01" if kept else "-00")


@pytest.mark.parametrize(
    "parent",
    [
        "garbage", "00-" + "0" * 32 + "-b7ad6b7169203331-01", PARENT + "-more", "ff" + PARENT[2:], PARENT.upper(), "00-0af7-b7ad-01", "x" * 5000,
    ],
)  # fmt: skip
async def test_a_traceparent_that_makes_no_sense_is_as_if_it_were_not_there(database_url: str, parent: str) -> None:
    async with Receiver() as receiver, Upstream(fakes.openai) as upstream:
        async with gateway(database_url, config(upstream), otel_exporter_otlp_endpoint=receiver.url) as gw:
            response = await chat(gw, {"traceparent": parent, "tracestate": "a=b"})
            assert response.status == 200
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", upstream.seen[0].headers["traceparent"])
        assert "tracestate" not in upstream.seen[0].headers and "0af765" not in upstream.seen[0].headers["traceparent"]


async def test_without_tracing_the_clients_headers_go_on(database_url: str) -> None:
    async with Upstream(fakes.openai) as upstream, gateway(database_url, config(upstream)) as gw:
        await chat(gw, {"traceparent": PARENT, "tracestate": "a=b"})
        await chat(gw, {"traceparent": "garbage", "tracestate": "a=b"}, max_tokens=3)
        assert upstream.seen[0].headers["traceparent"] == PARENT and upstream.seen[0].headers["tracestate"] == "a=b"
        assert "traceparent" not in upstream.seen[1].headers and "tracestate" not in upstream.seen[1].headers


async def test_a_receiver_that_is_away_harms_no_call(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    nowhere = "http://127.0.0.1:1"
    async with Upstream(fakes.openai) as upstream, gateway(database_url, config(upstream), otel_exporter_otlp_endpoint=nowhere) as gw:
        for _ in range(3):
            assert (await chat(gw)).status == 200
        async with gw.get("/metrics") as response:
            assert response.status == 200


def test_the_missing_extra_is_named(tmp_path: Path) -> None:
    """As where the extra is not installed: its packages can not be imported."""
    import os
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['opentelemetry.exporter'] = None\n"
        "from neuroroute.__main__ import main\nsys.argv = ['neuroroute', 'serve', '--port', '0']\nsys.exit(main())"
    )
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}
    environment |= {"NEUROROUTE_DATA_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "pip install 'neuroroute[otel]'" in done.stderr and "Traceback" not in done.stderr
