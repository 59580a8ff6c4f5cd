"""Usage records as bytes for the journal, and back."""

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime
from typing import Final, Generic, TypeVar

from neuroroute.core.dataclass import dataclass
from neuroroute.core.jsonbytes import loads
from neuroroute.store.usage import UsageRecord

R = TypeVar("R")

_NAMES: Final = frozenset(field.name for field in fields(UsageRecord) if field.init)


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


def _decode(data: bytes) -> UsageRecord:
    values = {name: value for name, value in loads(data).items() if name in _NAMES}
    values["created_at"] = datetime.fromisoformat(str(values["created_at"]))
    return UsageRecord(**values)


USAGE: Final[Codec[UsageRecord]] = Codec(
    key=lambda record: record.request_id,
    encode=UsageRecord.as_json,
    decode=_decode,
    interrupted=lambda record: replace(record, status="interrupted", http_status=500, error_code="interrupted"),
)
"""Fields of another version of the product are left out."""
