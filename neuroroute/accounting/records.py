"""Usage records as bytes for the journal, and back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Generic, TypeVar

from neuroroute.core.dataclass import dataclass
from neuroroute.store.usage import UsageRecord

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Codec(Generic[R]):
    """
    How records become bytes. key: what tells one from another. decode: raises ValueError, TypeError, KeyError on what is no record. interrupted: the
    record of a call whose process died, from what was known when it began.
    """

    key: Callable[[R], str]
    encode: Callable[[R], bytes]
    decode: Callable[[bytes], R]
    interrupted: Callable[[R], R]


USAGE: Final[Codec[UsageRecord]] = Codec(
    key=lambda record: record.request_id,
    encode=UsageRecord.as_json,
    decode=UsageRecord.of_json,
    interrupted=lambda record: replace(record, status="interrupted", http_status=500, error_code="interrupted"),
)
