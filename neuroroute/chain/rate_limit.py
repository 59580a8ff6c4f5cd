"""
Stage `rate_limit`: may this call go on now?

All limits that concern a call (its key's, its user's, its endpoint group's, the gateway's) are taken at once or not at all.
"""

from typing import Final

from neuroroute.chain import conversation
from neuroroute.chain.call import Call
from neuroroute.chain.services import Services
from neuroroute.core.errors import RateLimited
from neuroroute.limits.concurrency import Cap
from neuroroute.limits.rate import Verdict

_OUTPUT_GUESS_TOKENS: Final = 512
"""Counted for an answer whose length the client did not bound, until the real number is known. Guess."""


async def rate_limit(call: Call, s: Services) -> None:
    """Sets `verdict` and `slot`. Raises RateLimited with a true Retry-After."""
    assert call.principal is not None
    rules = s.limit_rules.of(call.principal, call.group)
    tokens = tokens_asked(call, rules.fewest_tokens) if rules.fewest_tokens else 0
    call.verdict = verdict = s.limiter.try_admit(rules.checks, tokens) or await s.limiter.admit(rules.checks, tokens)
    if not verdict.admitted:
        raise refusal(verdict)
    if rules.caps:
        taken = s.concurrency.take(rules.caps) or await s.concurrency.ask(rules.caps)
        if isinstance(taken, Cap):
            verdict.correct(0)
            text = f"Rate limit reached: {taken.limit} calls at once for {_whose(taken.scope)}. Wait until one of them is done."
            raise RateLimited(text, retry_after_s=1.0)
        call.slot = taken


def release(call: Call) -> None:
    """Give back what a call holds that asks no model and is not settled."""
    if call.slot is not None:
        call.slot.release()
    if call.verdict is not None:
        call.verdict.correct(0)


def _whose(scope: str) -> str:
    return "the whole gateway" if scope == "global" else f"this {scope.replace('group:', 'key on ')}"


def refusal(verdict: Verdict) -> RateLimited:
    """The error that a verdict of no becomes."""
    check = verdict.refused_by
    assert check is not None
    what = f"{check.limit} {check.unit} per {check.window_s:g} s for {_whose(check.scope)}"
    if verdict.retry_after_s is None:
        return RateLimited(f"This request asks for more tokens than its limit of {what} can ever hold.", code="request_too_large_for_limit")
    return RateLimited(
        f"Rate limit reached: {what}. Please try again in {verdict.retry_after_s:.3g} s.", retry_after_s=verdict.retry_after_s
    )


def tokens_asked(call: Call, limit: int = 0) -> int:
    """What the call may use: the prompt, and the longest answer that it allows or a guess. limit: no guess goes beyond it; 0 = none."""
    said = conversation.of(call)
    if said.max_output_tokens:
        return said.prompt_tokens + said.max_output_tokens
    guess = said.prompt_tokens + _OUTPUT_GUESS_TOKENS
    return max(said.prompt_tokens, min(guess, limit)) if limit else guess
