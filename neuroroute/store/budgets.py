"""Tables `usage_daily` and `budget_holds`: what of a budget is spent, and what processes hold of the rest."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from neuroroute.core.dataclass import dataclass
from neuroroute.core.money import Budget
from neuroroute.store.postgres import Database

CHANNEL: Final = "neuroroute_budgets"
"""On which processes are asked to give back what no call has reserved. Payload: scope, subject and period with spaces between."""

HOLD: Final = """
SELECT h.spent, h.others, h.others_free, h.holders, h.granted
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::numeric[], $6::bool[], $7::numeric[], $8::numeric[], $9::bigint[],
    $10::numeric[], $11::numeric[]) WITH ORDINALITY
    AS a (scope, subject, period, since, most, strict, held, free, running, need, one, place)
CROSS JOIN LATERAL hold_money(
    a.scope, a.subject, a.period, a.since, a.most, a.strict, a.held, a.free, a.running, a.need, a.one, $12, $13::bigint, $14::bigint, $15
) AS h
ORDER BY a.place
"""
LEAVE: Final = "DELETE FROM budget_holds WHERE holder = $1"
SPENT: Final = """
SELECT coalesce(sum(cost_nanousd), 0)::numeric FROM usage_daily WHERE part = $1 AND a = $2 AND b = $3 AND at >= $4
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What a process holds of one budget, and what it asks for. Amounts in 10^-9 USD.

    held: all that the books do not say yet; free: the part of it that no call has reserved; running: calls that have reserved. need: for calls that
    wait, one: the least that helps one of them.
    """

    budget: Budget
    since: datetime
    held: int
    free: int
    running: int
    need: int = 0
    one: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """spent: on the books; others, others_free: what other processes hold, and how much of it is free; holders: processes with us."""

    spent: int
    others: int
    others_free: int
    holders: int
    granted: int


class Holds:
    """The common books of all processes that share a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def contact(self, holder: str, turn: int, asked: Sequence[Asked], *, parts: int, ttl_s: float, timeout_s: float) -> list[Told]:
        """
        One transaction. turn: higher than that of any message before; parts: processes that share, at least. Raises: DatabaseAway
        """
        ordered = sorted(enumerate(asked), key=lambda pair: (pair[1].budget.scope, pair[1].budget.subject, pair[1].budget.period.value))
        rows = [
            (
                a.budget.scope, a.budget.subject, a.budget.period.value, a.since, a.budget.limit_nanousd, a.budget.strict, a.held, a.free, a.running,
                a.need, a.one,
            )
            for _, a in ordered
        ]  # fmt: skip
        columns = [list(column) for column in zip(*rows, strict=True)]
        found = await self._database.fetch(HOLD, *columns, holder, turn, parts, ttl_s, timeout_s=timeout_s)
        told = [Told(*[int(value) for value in row]) for row in found]
        back: list[Told] = list(told)
        for (place, _), answer in zip(ordered, told, strict=True):
            back[place] = answer
        return back

    async def call_in(self, budget: Budget) -> None:
        """Ask all processes to give back what they hold free of a budget. Raises: DatabaseAway"""
        await self._database.notify(CHANNEL, f"{budget.scope} {budget.subject} {budget.period}")

    def heed(self, give_back: Callable[[str, str, str], None]) -> Callable[[], None]:
        """Hear when another process calls in: `give_back(scope, subject, period)`. Returns what ends it."""

        def told(payload: str) -> None:
            scope, _, rest = payload.partition(" ")
            subject, _, period = rest.rpartition(" ")
            give_back(scope, subject, period)

        return self._database.listen(CHANNEL, told)

    async def leave(self, holder: str) -> None:
        """This process holds nothing any more. Raises: DatabaseAway"""
        await self._database.execute(LEAVE, holder)

    async def spent_nanousd(self, budget: Budget, since: datetime) -> int:
        """On the books since then. Raises: DatabaseAway"""
        a, _, b = budget.subject.partition("=") if budget.scope == "tag" else (budget.subject, "", "")
        return int(await self._database.fetchval(SPENT, budget.scope, a, b, since))
