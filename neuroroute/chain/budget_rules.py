"""Which budgets concern a call: its key's, its user's, and those of its tags."""

from collections.abc import Mapping, Sequence

from neuroroute.core.money import Budget
from neuroroute.core.types import Principal


class BudgetRules:
    """of_tags: those of the configuration, whose subjects are `name=value`; `configure` replaces them."""

    def __init__(self, of_tags: Sequence[Budget] = ()) -> None:
        self.configure(of_tags)

    def configure(self, of_tags: Sequence[Budget]) -> None:
        self._of_tags: dict[tuple[str, str], list[Budget]] = {}
        for budget in of_tags:
            name, _, value = budget.subject.partition("=")
            self._of_tags.setdefault((name, value), []).append(budget)

    def of(self, principal: Principal, asked_tags: Mapping[str, str]) -> tuple[Budget, ...]:
        if not self._of_tags:
            return principal.budgets
        found = [budget for pair in self.tags(principal, asked_tags).items() for budget in self._of_tags.get(pair, ())]
        return (*principal.budgets, *found)

    def tags(self, principal: Principal, asked_tags: Mapping[str, str]) -> Mapping[str, str]:
        """The tags that a call is booked under: a caller adds to those of its key, and changes none of them."""
        return {**asked_tags, **principal.tags} if asked_tags else principal.tags
