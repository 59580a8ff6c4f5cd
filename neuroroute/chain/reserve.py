"""
Stage `reserve`: money is set aside and the call is noted in the journal, before its provider is asked.

What is set aside is the most that the call can cost at the dearest of its targets, so one reservation serves every retry and fallback.
"""

from typing import Final

from neuroroute.accounting.cost import cost_nanousd, most_nanousd
from neuroroute.accounting.units import most_units_nanousd
from neuroroute.chain import conversation
from neuroroute.chain.call import Call
from neuroroute.chain.plan import plan
from neuroroute.chain.services import Services
from neuroroute.chain.steering import header
from neuroroute.core.clock import utcnow
from neuroroute.core.errors import BudgetSpent, ClientError, RateLimited
from neuroroute.core.jsonbytes import dumps
from neuroroute.core.money import Budget, Reservation
from neuroroute.core.types import Dialect, Model, Target, Usage
from neuroroute.limits.budget import began
from neuroroute.routing.catalog import is_auto

_BYTES_PER_TOKEN: Final = 4
_PROMPT_MARGIN: Final = 1.5  # our count is an estimate; providers add words of their own. Guess: 1.2 is usual
_PROMPT_MORE_TOKENS: Final = 1000
_ANY_OUTPUT_TOKENS: Final = 16_384
"""Where neither the client nor the catalogue bounds an answer. Guess."""


async def reserve(call: Call, s: Services) -> None:
    """Sets `reservation`. Raises BudgetSpent; RateLimited where running calls have reserved what is left; Unavailable if there is no space to note it."""
    assert call.principal is not None and call.decision is not None
    budgets = s.budget_rules.of(call.principal, call.steering.tags)
    call.reservation = await _set_aside(call, s, budgets) if budgets else Reservation(0)
    s.ledger.open(call.request_id, begun(call, s, call.decision.targets[0]))


async def _set_aside(call: Call, s: Services, budgets: tuple[Budget, ...]) -> Reservation:
    beyond: list[Budget] = []
    while True:
        amount = most(call)
        found = s.budgets.reserve(budgets, amount, beyond)
        if not isinstance(found, Reservation):
            found = await s.budgets.ask(budgets, amount, beyond)
        if isinstance(found, Reservation):
            return found
        if not s.budgets.is_spent(found):
            raise RateLimited(_held(found, away=s.budgets.away), code="budget_reserved", retry_after_s=1.0)
        if not found.spent_policy or not is_auto(call.requested_model):
            raise BudgetSpent(_told(found))
        beyond.append(found)
        call.spent_policy = found.spent_policy
        try:
            plan(call, s)
        except ClientError:  # the policy is gone, or leaves this key no model
            raise BudgetSpent(_told(found)) from None


_ANY_BYTES: Final = 25 << 20  # of a recording whose length nobody says; OpenAI takes no more. Source: its API reference, 2026-11


def _held(budget: Budget, *, away: bool) -> str:
    if away:
        return f"What is left of the budget of this {budget.scope} can not be asked for at the moment, as the database is away. Try again later."
    return f"What is left of the budget of this {budget.scope} is reserved by calls that are running. Try again when they are done."


def _told(budget: Budget) -> str:
    when = "" if budget.period == "total" else f" for this {budget.period}"
    then = "" if budget.period == "total" else f" It began at {began(budget.period, utcnow()):%Y-%m-%d} (UTC)."
    return f"The budget of this {budget.scope}{when} is spent: {budget.limit_nanousd / 1e9:g} USD.{then}"


def most(call: Call) -> int:
    """The most that the call can cost at any of its targets, in 10^-9 USD. What has no known price counts nothing."""
    assert call.decision is not None and call.client is not None
    estimate = prompt_tokens(call)
    prompt = int(estimate * _PROMPT_MARGIN) + _PROMPT_MORE_TOKENS
    costs = []
    for target in call.decision.targets:
        model = target.model
        longest = max(model.context_window_tokens or 0, estimate)  # more than its window no model reads
        costs.append(most_nanousd(model.price, min(prompt, longest) if longest > estimate else prompt, output_bound(call, model)) or 0)
    if call.dialect is Dialect.PASS:
        length = header(call.headers, "content-length") or ""
        body_bytes = int(length) if length.isdecimal() else _ANY_BYTES
        costs += [most_units_nanousd(target.model.price, call.path, call.body, body_bytes) for target in call.decision.targets]
    return max(costs)


def output_bound(call: Call, model: Model) -> int:
    """The longest answer that the request and the model allow, all its choices together."""
    if call.dialect is Dialect.EMBEDDINGS:
        return 0
    return (conversation.max_output(call.body) or model_output_bound(model) or _ANY_OUTPUT_TOKENS) * choices(call)


def model_output_bound(model: Model) -> int | None:
    return model.max_output_tokens or model.context_window_tokens


def choices(call: Call) -> int:
    """How many answers the request asks for."""
    body, count = call.body, 1
    if "n" in body or "best_of" in body:
        for name in ("n", "best_of"):
            if isinstance(n := body.get(name), int):
                count = max(count, n)
    return min(count, 128)


def prompt_tokens(call: Call) -> int:
    """Of the request, as far as they can be told at no great cost."""
    if call.conversation is None and (call.dialect is Dialect.PASS or call.principal is None or not call.principal.budgets):
        return len(call.client.raw) // _BYTES_PER_TOKEN if call.client is not None else 0
    return conversation.of(call).prompt_tokens


def begun(call: Call, s: Services, target: Target) -> bytes:
    """What the journal keeps of a call that begins: its row, if this process dies in the middle of it."""
    principal, decision, client = call.principal, call.decision, call.client
    assert principal is not None and decision is not None and client is not None
    prompt = completion = 0
    if call.dialect is not Dialect.PASS:
        prompt = prompt_tokens(call)
        completion = min(int(_forecast(call, s)), output_bound(call, target.model))
    return dumps(
        {
            "request_id": call.request_id,
            "client_request_id": call.client_request_id,
            "created_at": utcnow(),
            "key_id": principal.key_id,
            "user_id": principal.user_id,
            "requested_model": call.requested_model,
            "dialect": call.dialect,
            "endpoint": "/v1" + call.path if call.group == "v1" else "/prompt",
            "stream": client.stream,
            "model": target.model.name,
            "provider": target.provider.name,
            "policy": decision.policy or None,
            "label": call.classification.label if call.classification is not None else None,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "tokens_source": "estimated" if prompt or completion else "none",
            "cost_nanousd": cost_nanousd(target.model.price, Usage(prompt, completion)),
            "attempts": 1,
            "cache": call.cache_state,
            "tags": s.budget_rules.tags(principal, call.steering.tags),
        }
    )


def _forecast(call: Call, s: Services) -> float:
    """Tokens of the answer, as routing expects them."""
    assert call.decision is not None
    if call.dialect is Dialect.EMBEDDINGS:
        return 0.0
    if call.decision.policy and call.decision.candidates:
        return call.decision.candidates[0].output_tokens
    return s.router.lengths.of_label(call.classification.label if call.classification is not None else "")
