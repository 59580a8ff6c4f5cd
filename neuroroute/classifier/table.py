"""
The weights as they lie in the package and in memory.

In the file: a JSON header (scales, biases, calibration), then the feature names and one signed byte per feature and head, both deflated. The
features stand in the order of their kinds, and the header says how many there are of each: reading it is part of every start.

In memory: per kind of feature a dict from what `features.Seen` has of it to ONE integer that holds all heads of the feature side by side, 16
bits each: the heads, the number 1, and the heads again for the facts of the form. The sum over a prompt's features is then one sum of integers: seventeen
additions for the price of one, without NumPy, whose import alone would cost 80 ms and 10 MB. A pair of words is looked up as a pair: nothing is
written out that only a look-up would read. All names share their words, interned as the tokens of prompts are.

An integer of lanes is the sum of lane * 2 ** (16 * place), negative lanes and all; with `_HALF` in each lane added and taken away bit by bit
(exclusive or) it is the lanes themselves, in two's complement.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from sys import intern
from typing import Any, Final

from neuroroute.classifier import features
from neuroroute.classifier.features import FACTS, KINDS, Seen, place_of
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.jsonbytes import dumps, loads

MAGIC: Final = b"NRT2"
LANE_BITS: Final = 16
MOST_AT_ONCE: Final = 256
"""So many rows of -128..127 fit a lane."""
_HALF: Final = 1 << (LANE_BITS - 1)
_LENGTHS: Final = struct.Struct("<III")


@dataclass(frozen=True, slots=True)
class Table:
    """`rows`: by kind, feature -> packed heads; `heads`: how many; `header`: what the trainer wrote beside them."""

    rows: tuple[dict[Any, int], ...]
    heads: int
    header: dict[str, Any]
    _carry: int = field(init=False)
    _lanes: struct.Struct = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_carry", _in_lanes([_HALF] * (2 * self.heads + 1)))
        object.__setattr__(self, "_lanes", struct.Struct(f"<{2 * self.heads + 1}h"))

    def sums(self, seen: Seen) -> Sequence[int]:
        """Per head the sum of the text's features, how many of them are known, per head the sum of the form's facts; in units of the head's scales."""
        words, pairs, stems, first, opening, lead, last, facts = self.rows
        hits = filter(
            None,
            chain(
                map(words.get, seen.words),
                map(pairs.get, seen.pairs),
                map(stems.get, seen.stems),
                map(first.get, seen.first),
                map(opening.get, seen.opening),
                map(last.get, seen.last),
                (lead.get(seen.lead),),
            ),
        )
        formed = sum(filter(None, map(facts.get, seen.facts)))
        if seen.size <= MOST_AT_ONCE:
            return self._unpacked(sum(hits, formed))
        parts = [self._unpacked(formed)]
        while some := list(islice(hits, MOST_AT_ONCE)):
            parts.append(self._unpacked(sum(some)))
        return list(map(sum, zip(*parts, strict=True)))

    def _unpacked(self, total: int) -> tuple[int, ...]:
        return self._lanes.unpack(((total + self._carry) ^ self._carry).to_bytes(self._lanes.size, "little"))

    def words(self) -> list[str]:
        """All words that are features."""
        return [name for name in self.rows[features.WORDS] if name[0] != "@"]

    def weights(self, name: str) -> tuple[int, ...] | None:
        """What a feature weighs for each head, by its name; None where it is not known."""
        kind, what = place_of(name)
        row = self.rows[kind].get(what)
        if row is None:
            return None
        lanes = self._unpacked(row)
        return lanes[-self.heads :] if kind == FACTS else lanes[: self.heads]


def _in_lanes(values: Sequence[int]) -> int:
    return sum(value << (LANE_BITS * place) for place, value in enumerate(values))


def pack(names: Sequence[str], cells: bytes, header: dict[str, Any]) -> bytes:
    """The file's bytes. `cells`: one signed byte per name and head, row by row."""
    kinds, heads = [place_of(name)[0] for name in names], len(header["heads"])
    order = sorted(range(len(names)), key=kinds.__getitem__)
    head = dumps({**header, "kinds": [kinds.count(kind) for kind in range(len(KINDS))]})
    words = zlib.compress("\n".join(names[at] for at in order).encode(), 9)
    body = zlib.compress(b"".join(cells[at * heads : (at + 1) * heads] for at in order), 9)
    return b"".join([MAGIC, _LENGTHS.pack(len(head), len(words), len(body)), head, words, body])


def unpack(blob: bytes) -> Table:
    """Raises: ValueError where the bytes are not a table."""
    if blob[:4] != MAGIC:
        raise ValueError("not a table of classifier weights")
    sizes = _LENGTHS.unpack_from(blob, 4)
    at = 4 + _LENGTHS.size
    parts = []
    for size in sizes:
        parts.append(blob[at : at + size])
        at += size
    header = loads(parts[0])
    names = zlib.decompress(parts[1]).decode().split("\n")
    cells = zlib.decompress(parts[2])
    heads = len(header["heads"])
    if len(cells) != heads * len(names):
        raise ValueError("the table of classifier weights is cut short")
    wide = bytearray(2 * len(cells))
    wide[::2] = cells.translate(bytes(byte ^ 0x80 for byte in range(256)))
    offset, end = _in_lanes([0x80] * heads), LANE_BITS * heads
    offset -= 1 << end
    packed = [int.from_bytes(row, "little") - offset for (row,) in struct.iter_unpack(f"{2 * heads}s", wide)]
    rows: list[dict[Any, int]] = []
    start = 0
    for kind, count in enumerate(header["kinds"]):
        rows.append(dict(zip(_keys(kind, names[start : start + count]), packed[start : start + count], strict=True)))
        start += count
    rows[FACTS] = {name: (row - (1 << end)) << (end + LANE_BITS) for name, row in rows[FACTS].items()}
    return Table(tuple(rows), heads, header)


def _keys(kind: int, names: Sequence[str]) -> Iterator[str | tuple[str, str]]:
    """What stands in that set of a `Seen`; as `place_of`, which is dearer where the kind is known."""
    match kind:
        case features.WORDS | features.FACTS:
            return map(intern, names)
        case features.STEMS | features.LAST:
            return (intern(name[:-1]) for name in names)
        case features.FIRST:
            return (intern(name[1:]) for name in names)
        case features.LEAD:
            return (intern(name[2:]) for name in names)
    skipped = int(kind == features.OPENING)
    pairs = (name[skipped:].partition(" ") if " " in name else name.partition("+") for name in names)
    return ((intern(a), intern(b)) for a, _, b in pairs)
