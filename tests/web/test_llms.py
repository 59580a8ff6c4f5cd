"""/llms.txt says what is true: its endpoints, steering fields, headers and model names exist."""

import re
from pathlib import Path

from neuroroute.chain.steering import steering
from neuroroute.core import settings
from neuroroute.core.config.layers import BUILT_IN_POLICIES
from neuroroute.web.routes import table
from tests.support.gateway import gateway

ROOT = Path(__file__).parents[2]


async def test_the_guide_needs_no_key_and_says_what_is_true(database_url: str) -> None:
    async with gateway(database_url, api_url="https://llm.example", swagger_route="/docs/api") as gw:
        async with gw.get("/llms.txt", key="") as response:
            text = await response.text()
            assert response.status == 200 and response.headers["content-type"] == "text/plain; charset=utf-8"
        async with gw.get("/openapi.json", key="") as response:
            described = (await response.json())["paths"]["/llms.txt"]["get"]
            assert described["security"] == [] and "plain text" in described["summary"]
    assert text.startswith("# NeuroRoute\n\n> ") and "https://llm.example/v1" in text and "https://llm.example/docs/api" in text
    assert len(text) < 5000 and "{" + "url}" not in text
    routes = {re.sub(r":[^}]*\}", "}", route.path) for route in table(settings.read({}))}
    named = set(re.findall(r"(?<![\w.:/])(/(?:v1|models|prompt|health|llms)[\w/{}]*)", text)) - {"/v1"}
    assert len(named) > 10 and named <= routes
    section = text.split("## Steering")[1].split("## Answers")[0]
    fields = set(re.findall(r"`(\w+)`", section)) - {"neuroroute", "default", "refresh", "only"}
    assert {"policy", "explain", "resumable", "session", "max_cost_usd"} <= fields
    for field in fields:
        steering({}, {"neuroroute": {field: None}})  # refuses what it does not know
    assert set(re.findall(r"`auto:(\w+)`", text)) == {*BUILT_IN_POLICIES, "0", "10"}
    source = "\n".join(path.read_text() for path in (ROOT / "neuroroute").rglob("*.py") if path.name != "llms.py").lower()
    assert all(header in source or header.removeprefix("x-neuroroute-") in source for header in re.findall(r"x-[a-z-]+[a-z]", text))


async def test_the_guide_names_no_documentation_that_is_switched_off(database_url: str) -> None:
    async with gateway(database_url, enable_swagger=False) as gw, gw.get("/llms.txt", key="") as response:
        assert "/documentation" not in await response.text()
