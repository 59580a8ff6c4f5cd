"""Which models are offered under which names, to whom."""

import dataclasses

import pytest

from neuroroute.core.errors import UnknownModel
from neuroroute.core.types import Dialect, Model, Price, Protocol, Provider
from neuroroute.routing.build import DeclaredModel, DeclaredPolicy, build_catalog
from neuroroute.routing.catalog import Catalog, CatalogHolder
from neuroroute.routing.facts import facts_of
from neuroroute.routing.rules import rule_of
from tests.support.offers import NOTHING_KNOWN, model, provider

KNOWN = facts_of(
    b"""{"updated": "2026-11-23", "by_size": [-0.4, 0.56, 0.9], "models": {
    "gpt-4o": {"provider": "openai", "price": [2.5, 10, 1.25], "window": 128000, "max_output": 16384, "abilities": ["tools", "vision"], "auto": true, "quality": {"default": 0.8}},
    "gpt-4o-2024-08-06": {"provider": "openai", "price": [2.5, 10, 1.25], "window": 128000, "max_output": 16384, "quality": {"default": 0.8}},
    "text-embedding-3-small": {"provider": "openai", "kind": "embedding", "price": [0.02, 0], "window": 8191, "auto": true},
    "claude-opus": {"provider": "anthropic", "price": [5, 25, 0.5, 6.25], "window": 200000, "abilities": ["tools"], "auto": true, "quality": {"default": 0.9}},
    "qwen2.5-7b-instruct": {"provider": "open", "window": 32768, "abilities": ["tools"], "quality": {"default": 0.66, "code": 0.73}, "quality_source": "outcomes"}}}"""
)


def hosted(**more: object) -> Catalog:
    return build_catalog({"openai": provider("openai"), "anthropic": provider("anthropic", Protocol.ANTHROPIC)}, known=KNOWN, **more)  # type: ignore[arg-type]


def names(catalog: Catalog, kind: str = "chat") -> list[str]:
    return [entry.key for entry in catalog.candidates(kind)]


def test_a_hosted_provider_with_a_key_offers_what_it_is_known_for() -> None:
    catalog = hosted()
    assert set(catalog.entries) == {"gpt-4o", "gpt-4o-2024-08-06", "text-embedding-3-small", "claude-opus"}
    assert names(catalog) == ["openai/gpt-4o", "anthropic/claude-opus"], "dated names are for those who name them"
    assert names(catalog, "embedding") == ["openai/text-embedding-3-small"]
    assert build_catalog({"openai": provider("openai", key=None)}, known=KNOWN).entries == {}
    assert build_catalog({"house": provider("house")}, known=KNOWN).entries == {}


def test_names() -> None:
    catalog = hosted(aliases={"fast": ["gpt-4o", "anthropic/claude-opus"], "deep": ["fast", "gpt-4o-2024-08-06"]})
    assert [target.name for target in catalog.find("gpt-4o-2024-08-06")] == ["openai/gpt-4o-2024-08-06"]
    assert catalog.find("openai/gpt-4o") == catalog.find("gpt-4o") == catalog.find("neuroroute/gpt-4o")
    assert [target.name for target in catalog.find("fast")] == ["openai/gpt-4o", "anthropic/claude-opus"]
    assert [target.name for target in catalog.find("deep")] == ["openai/gpt-4o", "anthropic/claude-opus", "openai/gpt-4o-2024-08-06"]


@pytest.mark.parametrize("name", ["gpt-4", "GPT-4o", "gpt-4o ", "openai/", "x" * 100_000, "auto:nothing", "\x00", "gpt-4o-mini\nX: y"])
def test_an_unknown_name_is_told_with_the_nearest(name: str) -> None:
    catalog = hosted()
    with pytest.raises(UnknownModel) as fault:
        if catalog.auto_policy(name) is None:
            catalog.find(name)
    assert fault.value.param == "model" and len(fault.value.message) < 1500
    if name == "gpt-4":
        assert "gpt-4o" in fault.value.message


def test_hints_name_nothing_that_the_key_may_not_use() -> None:
    with pytest.raises(UnknownModel) as fault:
        hosted(aliases={"gpt-secret-project": ["gpt-4o"]}).find("gpt-secret", frozenset({"claude-opus"}))
    assert "secret-project" not in fault.value.message


def test_auto_names_and_the_dial() -> None:
    catalog = hosted(policies={"frugal": DeclaredPolicy(0.8, {"cost": 1.0, "latency": 0.1})}, default_policy="frugal")
    assert [catalog.auto_policy(name) for name in ("", "auto", "neuroroute/auto", "auto:best", "auto:7", "gpt-4o")] == [
        "frugal",
        "frugal",
        "frugal",
        "best",
        "7",
        None,
    ]
    dial, frugal = catalog.policy("7"), catalog.policy("frugal")
    assert dial is not None and dial.aim.quality_weight == 1.0
    assert frugal is not None and (frugal.aim.quality_floor, frugal.aim.cost_weight, frugal.aim.latency_weight) == (0.8, 1.0, 0.1)
    assert all(catalog.policy(name) is None for name in ("11", "-1", "1e5", "²", "", "0.5.5", "nan"))
    assert catalog.auto_names() == ("auto", "auto:best", "auto:balanced", "auto:cheap", "auto:fast", "auto:frugal")


def test_the_operator_speaks_before_the_server_and_the_server_before_the_facts() -> None:
    served = Model("qwen2.5-7b-instruct", "house", "qwen2.5-7b-instruct", context_window_tokens=8_192)
    spec = DeclaredModel("house-7b", "house", upstream_model="qwen2.5-7b-instruct", price=Price.of(0.05, 0.05), quality={"code": 0.62})
    catalog = build_catalog({"house": provider("house", key=None)}, [spec], discovered={"house": [served]}, known=KNOWN)
    (entry,) = catalog.entries.values()
    assert entry.model.upstream_model == "qwen2.5-7b-instruct" and entry.name == "house-7b"
    assert entry.model.context_window_tokens == 8_192 and entry.model.abilities == {"tools"}
    assert entry.model.quality == {"default": 0.66, "code": 0.62} and entry.quality_source == "declared"
    assert names(catalog) == ["house/house-7b"]


def test_a_price_is_never_borrowed_from_another_provider() -> None:
    catalog = build_catalog({"azure": provider("azure")}, [DeclaredModel("gpt-4o", "azure")], known=KNOWN)
    assert catalog.entries["gpt-4o"].model.price is None and catalog.entries["gpt-4o"].model.context_window_tokens == 128_000
    own = build_catalog({"openai": provider("openai")}, [DeclaredModel("mini", "openai", upstream_model="gpt-4o")], known=KNOWN)
    assert own.entries["mini"].model.price == Price.of(2.5, 10, 1.25)


def test_local_servers_offer_what_they_serve() -> None:
    served = [Model(name, "lmstudio", name) for name in ("Qwen2.5-7B-Instruct-GGUF", "mystery-13b", "nameless", "nomic-embed-text")]
    catalog = build_catalog({"lmstudio": provider("lmstudio", key=None)}, discovered={"lmstudio": served}, known=KNOWN)
    entries = catalog.entries
    assert entries["Qwen2.5-7B-Instruct-GGUF"].model.quality == {"default": 0.66, "code": 0.73}
    assert entries["Qwen2.5-7B-Instruct-GGUF"].quality_source == "outcomes" and entries["mystery-13b"].quality_source == "estimate"
    assert 0.6 < entries["mystery-13b"].model.quality["default"] < 0.8 and not entries["nameless"].model.quality
    assert entries["nomic-embed-text"].model.kind == "embedding" and "lmstudio/nomic-embed-text" not in names(catalog)
    assert all(entry.model.price is None for entry in entries.values()), "unknown is not 0"
    assert not entries["nameless"].abilities_known


def test_what_a_hosted_provider_says_it_has_replaces_what_is_known() -> None:
    catalog = hosted(discovered={"openai": [Model(name, "openai", name) for name in ("gpt-4o", "gpt-99-preview")]})
    assert {key for key in (entry.key for entry in catalog.entries.values()) if key.startswith("openai/")} == {
        "openai/gpt-4o",
        "openai/gpt-99-preview",
    }
    assert "openai/gpt-99-preview" not in names(catalog), "auto takes no model of a price list that nobody knows"
    assert catalog.entries["gpt-4o"].model.price == Price.of(2.5, 10, 1.25)


def test_two_providers_with_the_same_model() -> None:
    served = {name: [Model("llama", name, "llama")] for name in ("one", "two")}
    catalog = build_catalog({"one": provider("one"), "two": provider("two")}, discovered=served, known=NOTHING_KNOWN)
    assert list(catalog.entries) == ["llama", "two/llama"]
    assert [catalog.find(name)[0].name for name in ("llama", "one/llama", "two/llama")] == ["one/llama", "one/llama", "two/llama"]


def test_allow_lists() -> None:
    catalog = hosted(aliases={"fast": ["gpt-4o"], "mixed": ["gpt-4o", "claude-opus"]}, policies={"frugal": DeclaredPolicy()})

    def may(allowed: set[str], *sent: str) -> list[bool]:
        return [catalog.may_name(name, frozenset(allowed)) for name in sent]

    assert may({"gpt-4o"}, "gpt-4o", "openai/gpt-4o", "claude-opus", "fast", "mixed", "auto") == [True, True, False, True, False, True]
    assert may({"gpt-4o"}, "neuroroute/gpt-4o", "neuroroute/claude-opus") == [True, False]
    assert may({"anthropic/*"}, "claude-opus", "gpt-4o", "auto") == [True, False, True]
    assert may({"gpt-*"}, "gpt-4o-2024-08-06", "claude-opus") == [True, False]
    assert may({"auto"}, "auto", "", "auto:best", "neuroroute/auto", "gpt-4o") == [True, True, True, True, False]
    assert may({"auto:cheap"}, "auto:cheap", "neuroroute/auto:cheap", "auto", "auto:best", "gpt-4o") == [True, True, False, False, False]
    assert may({"mixed"}, "mixed", "gpt-4o", "nothing") == [True, True, False]
    assert may(set(), "auto", "gpt-4o") == [True, False], "an empty list leaves nothing to choose from; see below"
    assert catalog.allowed(frozenset()) == frozenset()
    assert catalog.allowed(None) is None and catalog.allowed(frozenset({"auto"})) is None
    assert catalog.allowed(frozenset({"auto:cheap", "anthropic/*"})) == {"anthropic/claude-opus"}
    assert catalog.listing(frozenset({"claude-opus"}))[-1] == "claude-opus" and "gpt-4o" not in catalog.listing(frozenset({"claude-opus"}))
    assert set(catalog.listing()) >= {"auto", "auto:frugal", "fast", "gpt-4o"}


def test_patterns_do_not_fill_memory() -> None:
    catalog = hosted()
    for number in range(2_000):
        catalog.matching(frozenset({f"model-{number}"}))
    assert len(catalog._memo) <= 512


def test_baseline_and_default_provider() -> None:
    assert hosted().baseline is not None and hosted().baseline.name == "anthropic/claude-opus"  # type: ignore[union-attr]
    assert hosted(baseline_model="gpt-4o").baseline.name == "openai/gpt-4o"  # type: ignore[union-attr]
    unpriced = build_catalog({"one": provider("one")}, [model("a", 0.9, None), model("b", 0.6, 1.0)], known=NOTHING_KNOWN)
    assert unpriced.baseline is not None and unpriced.baseline.name == "one/b", "savings need a price"
    assert build_catalog({}, known=KNOWN).baseline is None and build_catalog({}, known=KNOWN).default_provider is None
    assert hosted().default_provider == provider("openai")
    claude = provider("anthropic", Protocol.ANTHROPIC)
    assert build_catalog({"anthropic": claude}, known=KNOWN).default_provider is claude
    narrow = dataclasses.replace(provider("chat-only"), speaks=frozenset({Dialect.CHAT}))
    assert build_catalog({"chat-only": narrow, "openai": provider("openai")}, known=KNOWN).default_provider == provider("openai")


def test_references_to_what_is_away_warn_and_to_what_cannot_be_fail() -> None:
    catalog = hosted(
        aliases={"local": ["llama-at-home"], "both": ["llama-at-home", "gpt-4o"]},
        rules=[rule_of({"label": "code"}, use="nothing")],
        baseline_model="gpt-2",
    )
    assert len(catalog.warnings) == 4 and "llama-at-home" in catalog.warnings[0]
    assert [target.name for target in catalog.find("both")] == ["openai/gpt-4o"]
    with pytest.raises(UnknownModel, match="available at present"):
        catalog.find("local")
    for faulty, word in (
        ({"default_policy": "nope"}, "nope"),
        ({"rules": [rule_of({}, policy="nope")]}, "nope"),
        ({"aliases": {"auto": ["gpt-4o"]}}, "auto"),
        ({"declared": [DeclaredModel("x", "nowhere")]}, "nowhere"),
        ({"declared": [DeclaredModel("auto:x", "openai")]}, "auto:x"),
        ({"policies": {"p": DeclaredPolicy(weights={"speed": 1.0})}}, "speed"),
        ({"policies": {"p": DeclaredPolicy(quality_floor=2.0)}}, "quality_floor"),
    ):
        with pytest.raises(ValueError, match=word):
            hosted(**faulty)


def test_fallbacks_of_a_model_are_its_chain() -> None:
    catalog = build_catalog({"one": provider("one")}, [model("a", fallbacks=("b", "gone")), model("b")], known=NOTHING_KNOWN)
    assert [target.name for target in catalog.find("a")] == ["one/a", "one/b"]
    assert [target.name for target in catalog.find("one/a")] == ["one/a", "one/b"]
    assert len(catalog.warnings) == 1


def test_the_version_tells_catalogues_apart_and_holds_no_secret() -> None:
    one, same = hosted(), hosted()
    assert one.version == same.version and len(one.version) == 8
    assert hosted(aliases={"a": ["gpt-4o"]}).version != one.version
    assert hosted(default_policy="best").version != one.version
    other_key = build_catalog(
        {"openai": provider("openai", key="sk-other"), "anthropic": provider("anthropic", Protocol.ANTHROPIC)}, known=KNOWN
    )
    assert other_key.version == one.version
    assert "sk-test" not in repr(one)


def test_the_holder_is_swapped_whole() -> None:
    holder = CatalogHolder(hosted())
    before = holder.current
    holder.swap(build_catalog({}, known=KNOWN))
    assert holder.current is not before and before.find("gpt-4o"), "who holds the old one keeps it"


def test_the_demo_stands_in() -> None:
    demo = Provider("demo", Protocol.DEMO, "demo:")
    served = [Model("demo-small", "demo", "demo-small", price=Price.of(0.1, 0.4), quality={"default": 0.5})]
    catalog = build_catalog({"demo": demo}, discovered={"demo": served}, known=KNOWN)
    assert names(catalog) == ["demo/demo-small"] and catalog.entries["demo-small"].model.price == Price.of(0.1, 0.4)
