"""The packed table against plain arithmetic."""

import random

import pytest

from neuroroute.classifier.table import lane, pack, unpack


def _cells(rows: list[list[int]]) -> bytes:
    return bytes(value & 0xFF for row in rows for value in row)


def test_sums_of_packed_rows_equal_sums_of_the_cells() -> None:
    dice = random.Random(3)
    heads = ["a", "b", "c", "d"]
    rows = [[dice.randint(-127, 127) for _ in heads] for _ in range(900)]
    names = [f"f{at}" for at in range(900)]
    table = unpack(pack(names, _cells(rows), {"heads": heads, "note": "é"}))
    assert table.header["note"] == "é"
    for chosen in ([], [0], list(range(900)), dice.sample(range(900), 200)):
        expected = tuple(sum(rows[at][head] for at in chosen) for head in range(4))
        assert table.total([table.rows[f"f{at}"] for at in chosen]) == expected
    assert [lane(table.rows["f5"], head) for head in range(4)] == rows[5]


def test_damaged_weights_are_refused() -> None:
    blob = pack(["x", "y"], _cells([[1], [2]]), {"heads": ["a"]})
    with pytest.raises(ValueError, match="not a table"):
        unpack(b"????" + blob[4:])
    with pytest.raises(ValueError, match="cut short"):
        unpack(pack(["x", "y"], _cells([[1]]), {"heads": ["a"]}))
