"""Money that may be spent: reserved before a provider is asked, settled after."""

from collections.abc import Sequence

from neuroroute.core.money import Budget, Reservation


class Budgets:
    """The money of one process: without budgets every call is granted."""

    def reserve(self, budgets: Sequence[Budget], amount_nanousd: int) -> Reservation | Budget:
        """The permission to spend up to `amount_nanousd`, or the budget that is spent."""
        return Reservation(amount_nanousd, tuple(budgets))

    def settle(self, reservation: Reservation, actual_nanousd: int) -> None:
        """Replace the reserved amount by the real one; 0 gives all back."""
        reservation.settled = True
