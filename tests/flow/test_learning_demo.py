"""A first start without any provider: the demo models let a newcomer see routing at work."""

import pytest

from tests.support.gateway import gateway

PLAIN = (
    "Hi there, how are you today?",
    "Translate 'good morning, my friend' into French.",
    "Thanks, that helped a lot!",
    "Rewrite this politely: send me the file now.",
)
HARD = (
    "Prove that there are infinitely many primes congruent to 3 modulo 4, and explain why the argument fails for 1 modulo 4.",
    "Design a lock-free queue in C++ with many producers and consumers, handle the ABA problem and memory reclamation, and prove that it is linearizable.",
    "There is a race condition in my asyncio connection pool: tasks sometimes get the same connection twice after cancellation. Debug it and prove the fix.",
)


@pytest.mark.parametrize(("prompts", "models"), [(PLAIN, {"demo-small", "demo-medium"}), (HARD, {"demo-large"})])
async def test_balanced_sends_plain_work_to_the_small_and_hard_work_to_the_large(
    database_url: str, prompts: tuple[str, ...], models: set[str]
) -> None:
    async with gateway(database_url) as gw:
        chosen = {}
        for prompt in prompts:
            body = {"model": "auto:balanced", "messages": [{"role": "user", "content": prompt}]}
            async with gw.post("/v1/route", body) as response:
                chosen[prompt] = (await response.json())["model"]
        assert set(chosen.values()) <= models, chosen
