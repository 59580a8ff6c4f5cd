"""The official OpenAI SDK's own API tests pass through the gateway as they pass without it."""

from pathlib import Path

from neuroroute.access.keys import ensure_admin
from neuroroute.store.postgres import Database
from tests.compat.environments import openai_source, or_skip
from tests.compat.openai_mock import OpenAIMock
from tests.compat.sdk_suite import API_KEY, models, run
from tests.support.gateway import gateway, model, provider
from tests.support.upstream import Upstream

TESTS_MIN = 778


async def test_it_passes_as_many_through_the_gateway_as_without(database_url: str, tmp_path: Path) -> None:
    source = or_skip(openai_source)
    names = models(source)
    async with Database(database_url) as database:
        await ensure_admin(database, tmp_path, API_KEY)
    speaks = ["chat", "responses", "completions", "embeddings", "pass"]
    async with Upstream(OpenAIMock(source, names)) as up:
        config = {
            "providers": {"openai": provider(up.base_url, speaks=speaks)},
            "models": {name: model("openai") for name in names - {"auto"}},
        }
        async with gateway(database_url, config, admin=False) as gw:
            through = await run(source, gw.url + "/v1")
        failed = sorted(test for test, outcome in through.items() if outcome not in ("passed", "skipped"))
        # A test that fails without the gateway, too, says nothing about it; few may, or the mock is what is being tested.
        directly = await run(source, up.base_url) if failed else {}
    lost = [test for test in failed if directly.get(test) == "passed"]
    assert not lost, "\n\n".join(f"{test}\n{through[test]}" for test in lost)
    passed = sum(outcome == "passed" for outcome in through.values())
    assert passed >= TESTS_MIN and len(failed) <= passed // 100, "\n\n".join(f"{test}\n{through[test]}" for test in failed)
    # They did go through it: keys, models and errors of the gateway stand between.
    assert any(seen.headers.get("authorization") == "Bearer sk-upstream-secret" for seen in up.seen)
