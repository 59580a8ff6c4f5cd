"""The packed table against plain arithmetic."""

import random

import pytest

from neuroroute.classifier.features import extract
from neuroroute.classifier.table import Table, lane, pack, unpack


def _cells(rows: list[list[int]]) -> bytes:
    return bytes(value & 0xFF for row in rows for value in row)


def row_of(table: Table, name: str) -> int:
    row = table.row(name)
    assert row is not None
    return row


def test_sums_of_packed_rows_equal_sums_of_the_cells() -> None:
    dice = random.Random(3)
    heads = ["a", "b", "c", "d"]
    rows = [[dice.randint(-127, 127) for _ in heads] for _ in range(900)]
    names = [*[f"f{at}" for at in range(899)], "#f1"]
    table = unpack(pack(names, _cells(rows), {"heads": heads, "note": "é"}))
    assert table.header["note"] == "é"
    for chosen in ([], [0], list(range(899)), dice.sample(range(899), 200)):
        expected = tuple(sum(rows[at][head] for at in chosen) for head in range(4))
        known, spoken, formed = table.sums(extract("")._replace(words={f"f{at}" for at in chosen}, facts=["#f1", "#none"]))
        assert (known, tuple(spoken), formed) == (len(chosen), expected, rows[-1])
    assert [lane(row_of(table, "f5"), head) for head in range(4)] == rows[5]


@pytest.mark.parametrize(
    "prompt",
    [
        "Could you please write a short poem, then a table of 12 rows? Thanks!",
        "^ # @ $ * + ^^ $$ #a @b",
        "$5 + $6 ^",
        "什么是量子力学？请写一篇文章。",
        "def f(x): return {'a': x * 2}  # doubled",
        "Schreibe bitte ein Gedicht über den Herbst und übersetze es.",
        "",
    ],
)
def test_every_feature_is_found_by_its_name_and_as_it_is_seen(prompt: str) -> None:
    seen = extract(prompt)
    names = sorted(seen.text() | set(seen.facts))
    cells = [[at % 100] for at in range(len(names))]
    table = unpack(pack(names, _cells(cells), {"heads": ["a"]}))
    known, spoken, formed = table.sums(seen)
    assert [lane(row_of(table, name), 0) for name in names] == [row[0] for row in cells]
    assert known == len(seen.text())
    assert formed == [sum(cell for name, (cell,) in zip(names, cells, strict=True) if name in seen.facts)]
    assert spoken == [sum(cell for name, (cell,) in zip(names, cells, strict=True) if name not in seen.facts)]


def test_damaged_weights_are_refused() -> None:
    blob = pack(["x", "y"], _cells([[1], [2]]), {"heads": ["a"]})
    with pytest.raises(ValueError, match="not a table"):
        unpack(b"????" + blob[4:])
    with pytest.raises(ValueError, match="cut short"):
        unpack(pack(["x", "y"], _cells([[1]]), {"heads": ["a"]}))
