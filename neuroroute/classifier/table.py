"""
The weights as they lie in the package and in memory.

In the file: a JSON header (scales, biases, calibration), then the feature names and one signed byte per feature and head, both deflated.

In memory: per kind of feature a dict from what `features.Seen` has of it to ONE integer that holds all heads of the feature side by side, 32
bits each, shifted by 128 to be positive. The sum over a prompt's features is then one sum of integers: seventeen additions for the price of
one, without NumPy, whose import alone would cost 80 ms and 10 MB. A pair of words is looked up as a pair: nothing is written out that only a
look-up would read.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from neuroroute.classifier.features import KINDS, Seen, place_of
from neuroroute.core.jsonbytes import dumps, loads

MAGIC: Final = b"NRT1"
OFFSET: Final = 128
LANE_BITS: Final = 32
_LENGTHS: Final = struct.Struct("<III")


@dataclass(frozen=True, slots=True)
class Table:
    """`rows`: by kind, feature -> packed heads; `heads`: how many; `header`: what the trainer wrote beside them."""

    rows: tuple[dict[Any, int], ...]
    heads: int
    header: dict[str, Any]

    def sums(self, seen: Seen) -> tuple[int, list[int], list[int]]:
        """(how many features of the text are known, their sum per head, the sum per head of the form's facts) in units of the head's scales."""
        words, pairs, stems, first, opening, lead, last, facts = self.rows
        hits = [*map(words.get, seen.words), *map(pairs.get, seen.pairs), *map(stems.get, seen.stems)]
        hits += map(first.get, seen.first)
        hits += map(opening.get, seen.opening)
        hits.append(lead.get(seen.lead))
        hits += map(last.get, seen.last)
        formed = list(filter(None, map(facts.get, seen.facts)))
        known, size = len(hits) - hits.count(None), self.heads * LANE_BITS
        lanes = struct.unpack(f"<{2 * self.heads}I", (sum(filter(None, hits)) + (sum(formed) << size)).to_bytes(size // 4, "little"))
        shift, shift_of_facts = OFFSET * known, OFFSET * len(formed)
        return known, [lane - shift for lane in lanes[: self.heads]], [lane - shift_of_facts for lane in lanes[self.heads :]]

    def row(self, name: str) -> int | None:
        """The row of a feature by its name."""
        kind, what = place_of(name)
        return self.rows[kind].get(what)

    def total(self, hits: Sequence[int]) -> tuple[int, ...]:
        """The sum of packed rows, per head, in units of the head's scale."""
        packed = sum(hits).to_bytes(self.heads * LANE_BITS // 8, "little")
        shift = OFFSET * len(hits)
        return tuple([lane - shift for lane in struct.unpack(f"<{self.heads}I", packed)])


def lane(row: int, head: int) -> int:
    """One head's signed weight in a packed row."""
    return ((row >> (head * LANE_BITS)) & 0xFF) - OFFSET


def pack(names: Sequence[str], cells: bytes, header: dict[str, Any]) -> bytes:
    """The file's bytes. `cells`: one signed byte per name and head, row by row."""
    heads, words, body = dumps(header), zlib.compress("\n".join(names).encode(), 9), zlib.compress(cells, 9)
    return b"".join([MAGIC, _LENGTHS.pack(len(heads), len(words), len(body)), heads, words, body])


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
    heads, step = len(header["heads"]), LANE_BITS // 8
    if len(cells) != heads * len(names):
        raise ValueError("the table of classifier weights is cut short")
    wide = bytearray(len(cells) * step)
    wide[::step] = cells.translate(bytes((byte + OFFSET) & 0xFF for byte in range(256)))
    size = heads * step
    whole = bytes(wide)
    rows: tuple[dict[Any, int], ...] = tuple({} for _ in KINDS)
    for name, start in zip(names, range(0, len(whole), size), strict=True):
        kind, what = place_of(name)
        rows[kind][what] = int.from_bytes(whole[start : start + size], "little")
    return Table(rows, heads, header)
