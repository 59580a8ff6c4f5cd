"""The published document: a valid OpenAPI 3.1, complete, in step with what is served, and nothing that fits it breaks the admin API."""

import asyncio
import copy
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from neuroroute.core import settings
from neuroroute.core.types import Role
from neuroroute.web.openapi import document
from neuroroute.web.routes import table
from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.upstream import Upstream

NOT_DESCRIBED = {"/openapi.json"}
OPEN = ("/health", "/llms.txt", "/metrics", "/documentation", "/openapi.json", "/dashboard/sign-in", "/dashboard/static")


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    chosen = settings.read({})
    return document(table(chosen), chosen)


def test_the_document_is_valid_openapi(described: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(described).validate()


def test_every_route_is_described_and_nothing_else(described: dict[str, Any]) -> None:
    routes = {
        (route.method, re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path)) for route in table(settings.read({})) if "{tail" not in route.path
    }
    routes = {(method, path) for method, path in routes if path not in NOT_DESCRIBED}
    shown = {(method.upper(), path) for path, item in described["paths"].items() for method in item}
    assert routes <= shown and {path for _, path in shown} <= {path for _, path in routes} | NOT_DESCRIBED


def test_operations_have_names_of_their_own_and_say_what_they_are_for(described: dict[str, Any]) -> None:
    operations = [operation for item in described["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        assert operation["summary"].strip() and operation["tags"], operation["operationId"]
        declared = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert all(parameter["required"] for parameter in operation["parameters"] if parameter["in"] == "path")
        assert declared == set(
            re.findall(r"\{(\w+)\}", next(path for path, item in described["paths"].items() if operation in item.values()))
        )


def test_what_the_docstrings_name_in_the_query_is_described_and_no_summary_is_a_path(described: dict[str, Any]) -> None:
    for route in table(settings.read({})):
        path = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path)
        if "{tail" in path or path in NOT_DESCRIBED:
            continue
        operation = described["paths"][path][route.method.lower()]
        assert not re.match(r"(GET|POST|PUT|DELETE) ", operation["summary"]), operation["summary"]
        said = re.search(r"\?(\S+=\S*?):? ", (inspect.getdoc(route.handler) or "").split("\n")[0] + " ")  # type: ignore[attr-defined]
        named = set(re.findall(r"(\w+)=", said[1])) if said else set()
        assert named <= {parameter["name"] for parameter in operation["parameters"]}, (route.method, path)


def test_what_is_open_needs_no_key_and_all_else_does(described: dict[str, Any]) -> None:
    for path, item in described["paths"].items():
        for operation in item.values():
            is_open = path.startswith(OPEN)
            assert (operation.get("security") == []) is is_open, path


async def test_routes_that_need_a_key_refuse_without_one(database_url: str, described: dict[str, Any]) -> None:
    async with gateway(database_url) as gw:
        for path, item in described["paths"].items():
            for method, operation in item.items():
                place = re.sub(r"\{\w+\}", "x", path)
                async with gw.ask(
                    method.upper(), place, {} if "requestBody" in operation else None, key="", allow_redirects=False
                ) as response:
                    if path.startswith(OPEN):
                        assert response.status in (200, 400, 403, 404), (method, path)
                    elif path.startswith("/dashboard"):
                        assert response.status in (302, 303, 401, 403), (method, path)
                    else:
                        assert response.status == 401, (method, path, response.status)


async def test_the_served_document_is_this_one_and_its_page_needs_no_network(database_url: str) -> None:
    async with gateway(database_url, swagger_route="/docs/api", metrics_path="/ops/metrics", api_url="https://llm.example") as gw:
        async with gw.get("/openapi.json", key="") as response:
            served = await response.json()
        OpenAPIV31SpecValidator(served).validate()
        assert served["servers"] == [{"url": "https://llm.example"}]
        for path in ("/docs/api", "/ops/metrics"):
            assert served["paths"][path]["get"]["security"] == []
        async with gw.get("/docs/api", key="") as response:
            page = await response.text()
            assert response.status == 200 and "script-src 'self'" in response.headers["content-security-policy"]
            assert "http://" not in page and "https://" not in page
        for asset in re.findall(r'(?:src|href)="([^"]+)"', page):
            async with gw.get(asset, key="") as response:
                assert response.status == 200 and await response.read()
        for odd in ("/docs/api/..%2f..%2fpyproject.toml", "/docs/api/index.html"):
            async with gw.get(odd, key="") as response:
                assert response.status == 404
    async with gateway(database_url, enable_swagger=False) as gw, gw.get("/documentation", key="") as response:
        assert response.status == 404


async def _valid(gw: Gateway, described: dict[str, Any], method: str, path: str, place: str, body: Any = None) -> Any:
    """The answer to a request whose body fits the document; a refusal has the described shape."""
    operation = described["paths"][path][method.lower()]
    if body is not None:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator({**schema, "components": described["components"]}).validate(body)
    async with gw.ask(method, place, body) as response:
        answer = await response.json()
        assert str(response.status) in operation["responses"], (method, path, response.status)
        if response.status >= 400:
            jsonschema.validate(answer, described["components"]["schemas"]["Error"])
        return answer


async def test_examples_and_bodies_that_fit_the_document_are_taken(database_url: str, described: dict[str, Any]) -> None:
    async with Upstream(fakes.openai) as up:
        config = {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "gpt-4o")}}
        async with gateway(database_url, config) as gw:
            user = await _valid(gw, described, "POST", "/admin/users", "/admin/users", {"name": "a", "budget": {"usd": 1}})
            place = f"/admin/users/{user['id']}"
            assert (await _valid(gw, described, "PUT", "/admin/users/{id}", place, {"limits": None}))["limits"] == {}
            key = await _valid(
                gw, described, "POST", "/admin/api-keys", "/admin/api-keys", {"name": "k", "user_id": user["id"], "limits": None}
            )
            await _valid(gw, described, "POST", "/admin/api-keys/{id}/rotate", f"/admin/api-keys/{key['id']}/rotate", {"overlap_s": 0})
            await _valid(gw, described, "GET", "/admin/users/{id}", "/admin/users/usr_none")
            for path, item in described["paths"].items():
                schema = item.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
                for example in schema.get("examples", ()):
                    body = example if "model" not in example or example["model"].startswith("auto") else {**example, "model": "m"}
                    answer = await _valid(gw, described, "POST", path, path, body)
                    assert "error" not in answer or answer["error"] is None, (path, answer)


def _attackable(described: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """
    The document without the failures that a gateway whose demo provider answers has no reason for, and how many operations it has.

    504 stays where a call may ask for what is cached alone. What is passed on to a provider that keeps objects is left out: demo keeps none.
    """
    found = copy.deepcopy(described)
    for path, item in found["paths"].items():
        for operation in item.values():
            for status in ("500", "502", "503", *(() if path.startswith(("/v1/", "/prompt")) else ("504",))):
                operation["responses"].pop(status, None)
    return found, sum(map(len, found["paths"].values()))


@pytest.mark.parametrize("role", [Role.ADMIN, Role.USER])
async def test_no_generated_request_meets_a_bug_or_an_undocumented_status(
    database_url: str, described: dict[str, Any], tmp_path: Path, role: Role
) -> None:
    """Requests made from the document by schemathesis, valid and not, to every operation."""
    found, operations = _attackable(described)
    (tmp_path / "openapi.json").write_text(json.dumps(found))
    async with gateway(database_url, neuroroute_demo=True) as gw:
        user = (await gw.new_user(role))["id"]
        key = (await gw.new_key(user_id=user))["key"]
        command = [
            *("-m", "schemathesis.cli", "run", str(tmp_path / "openapi.json"), "--url", gw.url, "--header", f"Authorization: Bearer {key}"),
            *(
                "--checks",
                "not_a_server_error,status_code_conformance",
                "--phases",
                "fuzzing",
                "--max-examples",
                "4",
                "--no-color",
                "--seed",
                "7",
            ),
            *("--max-redirects", "0", "--workers", "2", "--no-shrink", "--warnings", "off"),
        ]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path
        )
        said, _ = await asyncio.wait_for(process.communicate(), 240)
        assert process.returncode == 0, said.decode()[-8000:]
        assert f"{operations} selected" in said.decode(), said.decode()
