"""The packed table against plain arithmetic."""

import random

import pytest

from neuroroute.classifier.features import extract
from neuroroute.classifier.table import MOST_AT_ONCE, pack, unpack


def _cells(rows: list[list[int]]) -> bytes:
    return bytes(value & 0xFF for row in rows for value in row)


def test_sums_of_packed_rows_equal_sums_of_the_cells() -> None:
    dice = random.Random(3)
    heads = ["a", "b", "c", "d"]
    rows = [[dice.randint(-127, 127) for _ in heads] for _ in range(900)]
    names = [*[f"f{at}" for at in range(899)], "#f1"]
    table = unpack(pack(names, _cells(rows), {"heads": heads, "note": "é"}))
    assert table.header["note"] == "é"
    for chosen in ([], [0], list(range(899)), dice.sample(range(899), 200)):
        expected = [sum(rows[at][head] for at in chosen) for head in range(4)]
        sums = table.sums(extract("")._replace(words={f"f{at}" for at in chosen}, facts=["#f1", "#none"]))
        assert list(sums) == [*expected, len(chosen), *rows[-1]]
    assert [table.weights(name) for name in ("f5", "#f1", "none")] == [tuple(rows[5]), tuple(rows[-1]), None]


@pytest.mark.parametrize("weight", [-128, 127])
@pytest.mark.parametrize("count", [1, MOST_AT_ONCE, MOST_AT_ONCE + 1, 3 * MOST_AT_ONCE])
def test_the_greatest_weights_of_any_number_of_features_do_not_run_over(weight: int, count: int) -> None:
    names = [f"f{at}" for at in range(count)]
    table = unpack(pack([*names, "#f"], _cells([[weight, -1 - weight, 0]] * (count + 1)), {"heads": ["a", "b", "c"]}))
    sums = table.sums(extract("")._replace(words=set(names), facts=["#f"]))
    assert list(sums) == [count * weight, count * (-1 - weight), 0, count, weight, -1 - weight, 0]


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
    spoken, known, formed = table.sums(seen)
    assert [table.weights(name) for name in names] == [tuple(row) for row in cells]
    assert known == len(seen.text())
    assert formed == sum(cell for name, (cell,) in zip(names, cells, strict=True) if name in seen.facts)
    assert spoken == sum(cell for name, (cell,) in zip(names, cells, strict=True) if name not in seen.facts)


def test_damaged_weights_are_refused() -> None:
    blob = pack(["x", "y"], _cells([[1], [2]]), {"heads": ["a"]})
    with pytest.raises(ValueError, match="not a table"):
        unpack(b"????" + blob[4:])
    with pytest.raises(ValueError, match="cut short"):
        unpack(pack(["x", "y"], _cells([[1]]), {"heads": ["a"]}))
