"""
OpenAI's API with an answer to every request of the SDK: the smallest body that the SDK's own response models call valid.

Routes and types come from the SDK: its lists of methods (api.md in the source distribution) say path and method, the method's return annotation says
what it expects. Nothing of the API is written down here.
"""

import inspect
import re
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openai
from openai import BaseModel, OpenAI, Stream
from openai.pagination import SyncConversationCursorPage, SyncCursorPage, SyncPage

from tests.support.upstream import Seen, Step, dumps, error, stream, whole

METHOD = re.compile(r'<code title="(\w+) (/[^"]*)">client\.([\w.]+)\.<a [^>]*>(\w+)</a>')
PAGES = (SyncPage, SyncCursorPage, SyncConversationCursorPage)
DEPTH_MAX = 12


@dataclass(frozen=True, slots=True)
class Route:
    """answer: the type of a whole answer. event: of one event of a stream; None where the method does not stream."""

    method: str
    path: re.Pattern[str]
    answer: Any
    event: Any

    def step(self, seen: Seen) -> Step:
        if self.event is not None and re.search(rb'"stream":\s*true|name="stream"\r\n\r\ntrue', seen.body):
            event = instance(self.event)
            name = f"event: {event['type']}\n".encode() if "type" in event else b""
            return stream(*[name + b"data: " + dumps(event) + b"\n\n"] * 2, b"" if name else b"data: [DONE]\n\n")
        if self.answer in (None, type(None)):
            return whole(b"", 200)
        if self.answer is str:
            return whole("text", content_type="text/plain")
        if self.answer is bytes:
            return whole(b"\x00\xff binary", content_type="application/octet-stream")
        return whole(instance(self.answer))


class OpenAIMock:
    """`Upstream(OpenAIMock(source, models))`: the provider. source: the unpacked source distribution; models: what GET /models lists."""

    def __init__(self, source: Path, models: Iterable[str] = ()) -> None:
        self._models = sorted(set(models))
        with OpenAI(api_key="unused", base_url="http://unused.invalid") as client:
            lists = [file.read_text(encoding="utf-8") for file in (source / "api.md", *source.glob("src/openai/resources/*/api.md"))]
            found = [_route(client, *match) for text in lists for match in METHOD.findall(text)]
        self.routes = [route for route in found if route is not None]

    def __call__(self, seen: Seen) -> Step:
        path = seen.path.removeprefix("/v1")
        if (seen.method, path) == ("GET", "/models"):
            return whole({"object": "list", "data": [{**instance(openai.types.Model), "id": name} for name in self._models]})
        for route in self.routes:
            if route.method == seen.method and route.path.fullmatch(path):
                return route.step(seen)
        return error(404, f"Invalid URL ({seen.method} {path})", "invalid_request_error")


def _route(client: OpenAI, method: str, path: str, resource: str, name: str) -> Route | None:
    at: Any = client
    for part in resource.split("."):
        at = getattr(at, part, None)
    function = inspect.unwrap(getattr(type(at), name, None) or (lambda: None))
    expected = function.__annotations__.get("return")
    if isinstance(expected, str):
        expected = eval(expected, vars(inspect.getmodule(function)))
    answer, event = _expected(expected)
    template = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))
    return Route(method.upper(), re.compile(template), answer, event)


def _expected(kind: Any) -> tuple[Any, Any]:
    """What a method gives: the type of a whole answer, and that of an event."""
    answers, event = [], None
    for variant in _variants(kind):
        if typing.get_origin(variant) is Stream:
            event = typing.get_args(variant)[0]
        else:
            answers.append(variant)
    if any("BinaryResponse" in getattr(variant, "__name__", "") for variant in answers):
        return bytes, None
    models = [variant for variant in answers if variant is not str]
    return (models or answers or [None])[0], event


def _variants(kind: Any) -> list[Any]:
    kind = _bare(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [inner for variant in typing.get_args(kind) for inner in _variants(variant)]
    return [kind]


def _bare(kind: Any) -> Any:
    """Without Annotated and without the name of an alias."""
    while True:
        if isinstance(kind, typing.TypeAliasType) if hasattr(typing, "TypeAliasType") else type(kind).__name__ == "TypeAliasType":
            kind = kind.__value__
        elif typing.get_origin(kind) is typing.Annotated:
            kind = typing.get_args(kind)[0]
        else:
            return kind


def instance(kind: Any, depth: int = 0) -> Any:
    """The smallest JSON value of a type: required fields alone, one entry in each list."""
    kind = _variants(kind)[0]
    origin = typing.get_origin(kind) or kind
    if depth > DEPTH_MAX:
        return None
    if origin in PAGES:
        [entry] = typing.get_args(kind)
        return {"object": "list", "data": [instance(entry, depth + 1)], "has_more": False, "first_id": "a", "last_id": "a"}
    if origin is typing.Literal:
        return typing.get_args(kind)[0]
    if origin in (list, typing.Sequence) or getattr(origin, "__name__", "") == "Sequence":
        return [instance(typing.get_args(kind)[0], depth + 1)]
    if origin is dict:
        return {}
    if inspect.isclass(origin) and issubclass(origin, BaseModel):
        fields = origin.model_fields.items()
        return {field.alias or name: instance(_declared(origin, name), depth + 1) for name, field in fields if field.is_required()}
    if origin is datetime:
        return "2026-01-02T03:04:05Z"
    if origin is date:
        return "2026-01-02"
    return {str: "text", int: 1, float: 0.5, bool: True, object: "anything", type(None): None}[origin]


def _declared(model: Any, name: str) -> Any:
    kind = model.model_fields[name].annotation
    if isinstance(kind, (str, typing.ForwardRef)):
        model.model_rebuild()
        kind = model.model_fields[name].annotation
    return kind
