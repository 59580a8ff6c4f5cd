"""From a question to a decision: names, rules, policies, bounds, allow-lists, health."""

import dataclasses
import time
from datetime import UTC, datetime

import pytest

from neuroroute.classifier.success import success
from neuroroute.core.errors import BadRequest, ConnectFailed, Forbidden, Unavailable, UnknownModel, UpstreamLimited
from neuroroute.core.types import LABELS, Classification, Dialect
from neuroroute.routing.build import DeclaredPolicy, build_catalog
from neuroroute.routing.catalog import Catalog
from neuroroute.routing.decision import NO_BOUNDS, Bounds, Decision, Gate, Question, Thread
from neuroroute.routing.health import Health
from neuroroute.routing.router import Router
from neuroroute.routing.rules import rule_of
from tests.support.offers import CALLER, NOTHING_KNOWN, model, provider, seen

SMALL, MIDDLE, LARGE = (
    model("small", 0.62, 0.1, at="one"),
    model("middle", 0.80, 1.0, at="two", abilities=("tools", "vision")),
    model("large", 0.92, 10.0, at="two", abilities=("tools", "vision", "reasoning"), window=400_000),
)


def catalog_of(**more: object) -> Catalog:
    return build_catalog({"one": provider("one"), "two": provider("two")}, [SMALL, MIDDLE, LARGE], known=NOTHING_KNOWN, **more)  # type: ignore[arg-type]


def ask(
    name: str = "auto",
    said: Classification | None = None,
    catalog: Catalog | None = None,
    *,
    router: Router | None = None,
    bounds: Bounds = NO_BOUNDS,
    allowed: set[str] | None = None,
    **more: object,
) -> Decision:
    caller = CALLER if allowed is None else dataclasses.replace(CALLER, allowed_models=frozenset(allowed))
    question = Question(name, caller, bounds=bounds, **more)  # type: ignore[arg-type]
    return (router or Router(Health())).decide(question, said or seen(), catalog or catalog_of())


def broken(*targets: str) -> Router:
    health = Health(failures=1, open_s=30.0)
    for target in targets:
        health.admit(target, 0.0).failed(ConnectFailed("down"), 0.0)
    return Router(health, now_s=lambda: 10.0)


def test_a_named_model_is_never_replaced() -> None:
    """Not by a cheaper one, not where its abilities are lacking, not where a policy is asked for."""
    for name in ("small", "one/small", "neuroroute/small"):
        hard = seen(difficulty=1.0, needs={"vision"}, tokens=10**6)
        decision = ask(name, hard, bounds=Bounds(policy="best", quality_floor=0.99))
        assert [target.name for target in decision.targets] == ["one/small"]
        assert (decision.policy, decision.reason, decision.candidates) == ("", "named", ())


def test_a_named_model_that_nothing_else_was_asked_of_is_decided_once() -> None:
    router, catalog = Router(Health()), catalog_of()
    for name in ("small", "one/small", "neuroroute/small"):
        known = router.named(name, catalog)
        assert known == router.decide(Question(name, CALLER), None, catalog) and known is router.named(name, catalog)
    backed = model("backed", at="one", fallbacks=("small",))
    changed = build_catalog({"one": provider("one")}, [SMALL, backed], known=NOTHING_KNOWN, aliases={"pair": ["small", "backed"]})
    assert router.named("small", changed) is not router.named("small", catalog)
    assert router.named("pair", changed) is router.named("auto", changed) is router.named("backed", changed) is None
    assert router.named("small", catalog_of(rules=[rule_of({"tag.team": "research"}, policy="best")])) is None
    assert broken("one/small").named("small", catalog) is None
    with pytest.raises(UnknownModel):
        router.named("smal", catalog)


def test_auto_has_the_others_as_fallbacks_in_order_of_rank() -> None:
    decision = ask("auto:best")
    assert [target.name for target in decision.targets] == ["two/large", "two/middle", "one/small"]
    assert decision.policy == "best" and decision.reason == "best: code, most quality"
    assert decision.baseline is not None and decision.baseline.name == "two/large"
    assert [ask(f"auto:{policy}").chosen.model.name for policy in ("cheap", "balanced", "fast")] == ["small", "large", "small"]
    assert ask("").policy == ask("auto").policy == "balanced"


def test_the_callers_policy_counts_for_auto_and_must_exist() -> None:
    assert ask("auto", bounds=Bounds(policy="cheap")).policy == "cheap"
    assert ask("auto", bounds=Bounds(policy="0")).chosen.model.name == "small"
    with pytest.raises(BadRequest, match="nope") as fault:
        ask("auto", bounds=Bounds(policy="nope"))
    assert fault.value.param == "neuroroute.policy"
    with pytest.raises(BadRequest, match="The policy '11' is not known"):
        ask("large", bounds=Bounds(policy="11"))
    assert ask("large", bounds=Bounds(policy="cheap")).chosen.model.name == "large"
    with pytest.raises(UnknownModel):
        ask("auto:nope")


def test_an_own_policy_with_its_models() -> None:
    catalog = catalog_of(
        policies={"house": DeclaredPolicy(weights={"cost": 1.0}, allow=("two/*",)), "open": DeclaredPolicy(dial=10, deny=("large",))}
    )
    assert ask("auto:house", catalog=catalog).chosen.model.name == "middle"
    assert ask("auto:open", catalog=catalog).chosen.model.name == "middle"


def test_what_a_policy_leaves_out_is_closed_by_the_policy() -> None:
    """Not by the key: who reads it must know where to look."""
    catalog = catalog_of(
        policies={"house": DeclaredPolicy(dial=5, allow=("one/*",), deny=("large",)), "gone": DeclaredPolicy(dial=5, allow=("nobody/*",))}
    )
    decision = ask("auto:house", catalog=catalog)
    assert {one.name: one.closed for one in decision.candidates if one.closed} == {
        "two/large": (Gate.POLICY,),
        "two/middle": (Gate.POLICY,),
    }
    with pytest.raises(BadRequest, match="policy closed"):
        ask("auto:gone", catalog=catalog)
    with pytest.raises(BadRequest, match=r"vision closed small; policy closed|policy closed .*; vision closed small"):
        ask("auto:house", seen(needs={"vision"}), catalog=catalog)


def test_when_every_gate_is_closed_the_answer_says_which_closed_what() -> None:
    with pytest.raises(BadRequest) as fault:
        ask("auto", seen(needs={"audio", "vision"}, tokens=300_000))
    assert fault.value.status == 400 and fault.value.param == "model"
    message = fault.value.message
    assert "audio closed small, middle, large" in message.replace("large, middle, small", "small, middle, large")
    assert "vision closed small" in message and "context_window closed" in message
    with pytest.raises(BadRequest, match="max_cost_usd closed"):
        ask("auto", bounds=Bounds(max_cost_usd=1e-9))
    with pytest.raises(BadRequest, match="deny closed"):
        ask("auto", bounds=Bounds(deny=("*",)))
    with pytest.raises(BadRequest, match="configure a provider"):
        ask("auto", catalog=build_catalog({}, known=NOTHING_KNOWN))


def test_bounds_of_the_caller() -> None:
    assert ask("auto:best", bounds=Bounds(deny=("large",))).chosen.model.name == "middle"
    assert [target.name for target in ask("auto:best", bounds=Bounds(allow=("one/*",))).targets] == ["one/small"]
    assert ask("auto:best", bounds=Bounds(max_cost_usd=0.005)).chosen.model.name == "middle"
    assert ask("auto:cheap", bounds=Bounds(quality_floor=0.75)).chosen.model.name == "middle"
    with pytest.raises(BadRequest, match="deny closed large"):
        ask("large", bounds=Bounds(deny=("large",)))
    with pytest.raises(BadRequest, match="max_cost_usd closed large"):
        ask("large", bounds=Bounds(max_cost_usd=1e-6))
    assert ask("large", bounds=Bounds(max_cost_usd=1.0)).chosen.model.name == "large"


def test_allow_lists_of_keys() -> None:
    with pytest.raises(Forbidden):
        ask("large", allowed={"small"})
    with pytest.raises(UnknownModel):
        ask("no-such-model", allowed={"small"})
    assert [target.name for target in ask("auto:best", allowed={"small", "middle"}).targets] == ["two/middle", "one/small"]
    assert ask("auto:best", allowed={"auto:best"}).chosen.model.name == "large"
    with pytest.raises(Forbidden):
        ask("auto", allowed={"auto:cheap"})
    with pytest.raises(Forbidden, match="none of the models"):
        ask("auto", allowed=set())
    with pytest.raises(Forbidden):
        ask("auto:cheap", allowed={"auto:best"}, bounds=Bounds())


def test_a_policy_in_the_body_is_no_way_around_the_allow_list() -> None:
    with pytest.raises(Forbidden):
        ask("auto:cheap", allowed={"auto:cheap"}, bounds=Bounds(policy="best"))


def test_an_alias_is_its_chain() -> None:
    catalog = catalog_of(aliases={"team": ["small", "middle", "large"]})
    assert [target.name for target in ask("team", catalog=catalog).targets] == ["one/small", "two/middle", "two/large"]
    picture = ask("team", seen(needs={"vision"}), catalog)
    assert [target.name for target in picture.targets] == ["two/middle", "two/large"], "who can not see is left out"
    impossible = ask("team", seen(needs={"audio"}), catalog)
    assert len(impossible.targets) == 3, "where none is known to be able, the providers decide"
    assert len(ask("team", catalog=catalog, allowed={"large", "team"}).targets) == 3, "an alias that is granted is granted whole"
    with pytest.raises(Forbidden):
        ask("team", catalog=catalog, allowed={"small"})
    assert ask("team", catalog=catalog, allowed={"team"}).reason == "alias team"


def test_broken_targets_are_left_out_and_limited_ones_come_last() -> None:
    catalog = catalog_of(aliases={"team": ["small", "middle"]})
    router = broken("one/small")
    assert [target.name for target in ask("team", catalog=catalog, router=router).targets] == ["two/middle"]
    assert [target.name for target in ask("auto:cheap", router=router).targets] == ["two/middle", "two/large"]
    with pytest.raises(Unavailable) as down:
        ask("small", router=router)
    assert down.value.retry_after_s == pytest.approx(20.0)
    with pytest.raises(Unavailable) as all_down:
        ask("auto", router=broken("one/small", "two/middle", "two/large"))
    assert all_down.value.retry_after_s == pytest.approx(20.0)
    with pytest.raises(Unavailable):
        ask("auto", seen(needs={"vision"}), router=broken("two/middle", "two/large"))
    limited = Router(Health(), now_s=lambda: 1.0)
    limited.health.admit("one/small", 0.0).failed(UpstreamLimited("slow down"), 0.5)
    assert [target.name for target in ask("team", catalog=catalog, router=limited).targets] == ["two/middle", "one/small"]


def test_rules_come_first() -> None:
    catalog = catalog_of(
        aliases={"see": ["middle", "large"]},
        rules=[
            rule_of({"label": "translation"}, use="small"),
            rule_of({"tag.team": "research"}, policy="best"),
            rule_of({"model": "large", "key": "key_a"}, use="middle"),
            rule_of({"language": "de"}, use="auto:fast"),
            rule_of({"label": "math"}, use="away"),
        ],
    )
    by_label = ask("auto:best", seen("translation"), catalog)
    assert (
        by_label.chosen.model.name == "small" and by_label.rule == "label = translation -> small" and by_label.reason.startswith("rule: ")
    )
    assert ask("auto:cheap", catalog=catalog, tags={"team": "research"}).policy == "best"
    assert ask("large", catalog=catalog).chosen.model.name == "middle", "a rule about this model may move it"
    assert ask("middle", seen("translation"), catalog).chosen.model.name == "middle", "one about labels may not"
    assert ask("auto:best", seen(language="de"), catalog).policy == "fast"
    assert ask("auto:best", seen("math"), catalog).policy == "best", "a rule whose model is away does not apply"
    forbidden = ask("auto:best", seen("translation"), catalog, allowed={"middle", "large"})
    assert forbidden.chosen.model.name == "large", "a rule opens no door to what the key may not use"


def test_rules_see_the_clock_and_the_headers() -> None:
    catalog = catalog_of(
        rules=[rule_of({"time": "22:00-06:00", "weekday": "mon-fri"}, policy="cheap"), rule_of({"header.x-app": "batch*"}, use="small")]
    )
    night = Router(Health(), utcnow=lambda: datetime(2026, 11, 23, 23, 30, tzinfo=UTC))
    noon = Router(Health(), utcnow=lambda: datetime(2026, 11, 23, 12, 0, tzinfo=UTC))
    assert ask("auto:best", catalog=catalog, router=night).policy == "cheap"
    assert ask("auto:best", catalog=catalog, router=noon).policy == "best"
    assert ask("auto:best", catalog=catalog, router=noon, headers={"x-app": "batch-7"}).chosen.model.name == "small"


def test_a_conversation_stays_and_a_stalled_one_moves_up() -> None:
    twins = build_catalog(
        {"one": provider("one")}, [model("a", 0.8, 1.0), model("b", 0.8, 1.01), model("c", 0.9, 30.0)], known=NOTHING_KNOWN
    )
    assert ask("auto:cheap", catalog=twins).chosen.model.name == "a"
    kept = ask("auto:cheap", catalog=twins, thread=Thread("one/b"))
    assert kept.chosen.model.name == "b" and kept.kept and "stays" in kept.reason
    assert [target.model.name for target in kept.targets] == ["b", "a", "c"]
    moved = ask("auto:cheap", catalog=twins, thread=Thread("one/b", stalled=True))
    assert moved.chosen.model.name == "c" and "escalated" in moved.reason
    assert {candidate.name: candidate.closed for candidate in moved.candidates if candidate.closed} == {
        "one/a": (Gate.STALLED,),
        "one/b": (Gate.STALLED,),
    }
    assert moved.escalated and not kept.escalated
    for stalled in (False, True):  # where the best stalls too, it is asked again
        stays = ask("auto:cheap", catalog=twins, thread=Thread("one/c", stalled=stalled, raised=True))
        assert stays.chosen.model.name == "c" and stays.kept and not stays.escalated
    tools = ask("auto:best", catalog=twins, thread=Thread("one/a", tool_loop=True))
    assert tools.chosen.model.name == "a"


def test_reasons_say_what_happened_and_fit_a_header() -> None:
    assert ask("auto", seen(abstained=True)).reason == "balanced: unsure, most quality for its price"
    assert "none reaches 0.60" in ask("auto:cheap", seen(difficulty=1.0)).reason
    odd = catalog_of(aliases={"schnell\r\nx: é": ["small"]})
    reason = ask("schnell\r\nx: é", catalog=odd).reason
    assert reason.isascii() and reason.isprintable()


def test_embeddings_choose_among_embedding_models() -> None:
    catalog = build_catalog(
        {"one": provider("one")}, [model("chat"), model("vectors", kind="embedding", usd=0.02, window=8_000)], known=NOTHING_KNOWN
    )
    assert ask("auto", catalog=catalog, dialect=Dialect.EMBEDDINGS).targets[0].name == "one/vectors"
    assert ask("auto", catalog=catalog).targets[0].name == "one/chat"


def test_an_endpoint_that_nobody_translates_needs_a_provider_that_has_it() -> None:
    claude = dataclasses.replace(provider("claude"), speaks=frozenset({Dialect.MESSAGES, Dialect.PASS}))
    catalog = build_catalog(
        {"claude": claude, "one": provider("one")}, [model("opus", 0.95, at="claude"), model("plain", 0.7)], known=NOTHING_KNOWN
    )
    assert ask("auto:best", catalog=catalog, dialect=Dialect.CHAT).chosen.model.name == "opus"
    assert ask("auto:best", catalog=catalog, dialect=Dialect.COMPLETIONS).chosen.model.name == "plain"
    only = build_catalog({"claude": claude}, [model("opus", 0.95, at="claude")], known=NOTHING_KNOWN)
    with pytest.raises(BadRequest, match="endpoint closed opus"):
        ask("auto", catalog=only, dialect=Dialect.COMPLETIONS)


def test_a_latency_bound_looks_at_bad_days_too() -> None:
    catalog = build_catalog({"one": provider("one")}, [model("steady"), model("shaky")], known=NOTHING_KNOWN)
    health = Health()
    for step in range(400):
        for name, first_s in (("one/steady", 1.0), ("one/shaky", 5.0 if step % 10 == 0 else 0.5)):
            attempt = health.admit(name, float(step))
            attempt.first_byte(step + first_s)
            attempt.succeeded(step + first_s + 1.0, output_tokens=1_001)
    decision = ask("auto", catalog=catalog, router=Router(health), bounds=Bounds(max_latency_ms=3_000))
    assert [target.name for target in decision.targets] == ["one/steady"]


def test_the_forecast_is_the_one_that_the_classifier_was_evaluated_with() -> None:
    """Both floors state the formula; neither may import the other."""
    uneven = dataclasses.replace(SMALL, quality={"default": 0.6, "code": 0.9, "math": 0.3})
    catalog = build_catalog({"one": provider("one")}, [uneven], known=NOTHING_KNOWN)
    means = {label: 0.2 + 0.03 * place for place, label in enumerate(LABELS)}
    for difficulty in (0.0, 0.3, 0.8):
        said = dataclasses.replace(seen(difficulty=difficulty), posterior=(0.5, 0.3, 0.2, *[0.0] * 10))
        decision = ask("auto", said, catalog, router=Router(Health(), mean_difficulty=means))
        evaluated = success(uneven.quality, said.posterior, difficulty, mean_difficulty=means)
        assert decision.candidates[0].quality == pytest.approx(evaluated, abs=1e-6)


def test_a_call_that_was_not_classified_is_treated_as_unknown_work() -> None:
    decision = Router(Health()).decide(Question("auto", CALLER), None, catalog_of())
    assert "unsure" in decision.reason and decision.classification is not None


@pytest.mark.parametrize(("count", "most_us"), [(5, 150), (20, 300), (100, 1200)])
def test_a_decision_is_quick(count: int, most_us: int) -> None:
    """CPU time. Measured 2026-11 on two quiet cores: 19, 39 and 145 us; the bounds leave room for a busy machine."""
    catalog = build_catalog(
        {"one": provider("one")}, [model(f"m{place}", 0.4 + 0.005 * place, 0.1 + place) for place in range(count)], known=NOTHING_KNOWN
    )
    router, question, said = Router(Health()), Question("auto", CALLER), seen()
    took = []
    for _ in range(15):
        began = time.thread_time()
        for _ in range(50):
            router.decide(question, said, catalog)
        took.append((time.thread_time() - began) / 50 * 1e6)
    assert min(took) < most_us


def test_no_chain_leads_to_what_the_key_may_not_use() -> None:
    chained = build_catalog({"one": provider("one")}, [model("a", fallbacks=("b", "c")), model("b"), model("c")], known=NOTHING_KNOWN)
    assert [target.model.name for target in ask("a", catalog=chained).targets] == ["a", "b", "c"]
    assert [target.model.name for target in ask("a", catalog=chained, allowed={"a", "c"}).targets] == ["a", "c"]
    ruled = catalog_of(aliases={"team": ["large", "small"]}, rules=[rule_of({"label": "code"}, use="team")])
    assert [target.model.name for target in ask("auto", catalog=ruled).targets] == ["large", "small"]
    assert [target.model.name for target in ask("auto", catalog=ruled, allowed={"small", "middle"}).targets] == ["small"]
    moved = catalog_of(aliases={"team": ["small"], "other": ["large", "small"]}, rules=[rule_of({"model": "team"}, use="other")])
    assert [target.model.name for target in ask("team", catalog=moved, allowed={"team"}).targets] == ["small"]


def test_bounds_that_are_just_met_are_met() -> None:
    catalog = build_catalog({"one": provider("one")}, [model("m", window=10_000, most=8_000)], known=NOTHING_KNOWN)
    exact = Bounds(max_latency_ms=10**6, max_cost_usd=(2_000 + 4 * 700) / 1e6)
    assert ask("auto", seen(tokens=2_000), catalog, max_output_tokens=8_000, bounds=exact).chosen.model.name == "m"
    for tokens, asked, gate in ((2_001, 8_000, "context_window"), (500, 8_001, "max_output")):
        with pytest.raises(BadRequest, match=f"{gate} closed m"):
            ask("auto", seen(tokens=tokens), catalog, max_output_tokens=asked)
