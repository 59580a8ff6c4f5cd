"""A minimal value for a JSON schema: what the simulated models answer to `json_schema` and give to tools."""

import math
from typing import Any, Final

_MAX_DEPTH: Final = 12  # a schema may refer to itself; below this depth only what is required is filled, then nothing
_MAX_VALUES: Final = 2_000
_FORMATS: Final = {
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "date-time": "2026-01-01T12:00:00Z",
    "email": "demo@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "duration": "PT1H",
}


def instance(schema: Any, word: str = "example") -> Any:
    """The smallest value that `schema` allows; `word` is what free strings say. Patterns are not followed."""
    return _Filling(schema, word).value(schema, 0)


class _Filling:
    """One value in the making. A schema that holds itself twice doubles with each level, so the number of values is bounded too."""

    def __init__(self, root: Any, word: str) -> None:
        self._root, self._word, self._left = root, word, _MAX_VALUES

    def value(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or depth > 4 * _MAX_DEPTH or self._left < 0:
            return self._word if schema is True else None
        if "$ref" in schema:
            return self.value(_referred(self._root, str(schema["$ref"])), depth + 1)
        for fixed in ("const", "default"):
            if fixed in schema:
                return schema[fixed]
        if schema.get("enum"):
            return schema["enum"][0]
        if schema.get("allOf"):
            return self.value(_merged(schema, self._root), depth + 1)
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                choices = schema[key]
                empty = next((c for c in choices if isinstance(c, dict) and c.get("type") == "null"), None)
                return self.value(empty if empty and depth >= _MAX_DEPTH else choices[0], depth + 1)
        return self._typed(schema, depth)

    def _typed(self, schema: dict[str, Any], depth: int) -> Any:
        match _kind(schema, prefer_null=depth >= _MAX_DEPTH):
            case "object":
                properties = schema.get("properties") or {}
                return {name: self.value(properties.get(name, True), depth + 1) for name in schema.get("required") or []}
            case "array":
                least = min(int(schema.get("minItems", 0)), 100)
                return [self.value(schema.get("items", True), depth + 1) for _ in range(least)]
            case "integer":
                return int(_number(schema, 1))
            case "number":
                return _number(schema, None)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return _string(schema, self._word)


def _kind(schema: dict[str, Any], prefer_null: bool) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = "null" if prefer_null and "null" in kind else next((k for k in kind if k != "null"), "null")
    if kind is None:
        return "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _string(schema: dict[str, Any], word: str) -> str:
    text = str(_FORMATS.get(str(schema.get("format")), word))
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    text = text.ljust(min(least, 10_000), "x")
    return text if most is None else text[: int(most)]


def _number(schema: dict[str, Any], step: int | None) -> int | float:
    step = schema.get("multipleOf") or step
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    value: float = low if low is not None else (min(1, high) if high is not None else 1)
    if step:
        value = math.ceil(value / step) * step if low is not None or high is None else math.floor(value / step) * step
    if value == schema.get("exclusiveMinimum"):
        value += step or 0.5
    elif value == schema.get("exclusiveMaximum"):
        value -= step or 0.5
    return value


def _referred(root: Any, pointer: str) -> Any:
    """What `#/$defs/Name` points to inside the schema; anything else gives a free value."""
    found = root
    for part in pointer.removeprefix("#").split("/")[1:]:
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found if pointer.startswith("#") and found is not None else True


def _merged(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    """`allOf` as one schema: properties and required are joined, other keywords of later parts win."""
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        if isinstance(part, dict) and "$ref" in part:
            part = _referred(root, str(part["$ref"]))
        if not isinstance(part, dict):
            continue
        properties = {**(merged.get("properties") or {}), **(part.get("properties") or {})}
        required = [*(merged.get("required") or []), *(part.get("required") or [])]
        merged = {**merged, **part, "required": list(dict.fromkeys(required))}
        if properties:
            merged["properties"] = properties
    return merged
