"""Calls at once: per key, user, or any other subject."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `limit` running calls of one subject."""

    scope: str
    subject: str
    limit: int


class Slot:
    """The places that one running call holds. `release` gives them back, once however often it is called."""

    __slots__ = ("_counts", "_subjects")

    def __init__(self, counts: dict[tuple[str, str], int], subjects: tuple[tuple[str, str], ...]) -> None:
        self._counts, self._subjects = counts, subjects

    def release(self) -> None:
        subjects, self._subjects = self._subjects, ()
        for subject in subjects:
            left = self._counts[subject] - 1
            if left:
                self._counts[subject] = left
            else:
                del self._counts[subject]


class Concurrency:
    """The running calls of one process."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def running(self, scope: str, subject: str) -> int:
        return self._counts.get((scope, subject), 0)

    def take(self, caps: Sequence[Cap]) -> Slot | Cap:
        """A slot, or the cap that is full; then nothing was taken."""
        counts = self._counts
        subjects = tuple((cap.scope, cap.subject) for cap in caps)
        for cap, subject in zip(caps, subjects, strict=True):
            if counts.get(subject, 0) >= cap.limit:
                return cap
        for subject in subjects:
            counts[subject] = counts.get(subject, 0) + 1
        return Slot(counts, subjects)
