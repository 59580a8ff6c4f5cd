"""The corpus of prompts: what is committed is what the material gives, and it is fit to learn from."""

import gzip
import re
from collections import Counter, defaultdict

import pytest

from neuroroute.classifier.corpus import material, styles
from neuroroute.classifier.corpus.build import PROMPTS_PATH, Prompt, build, write
from neuroroute.classifier.labels import LABELS
from neuroroute.core import jsonbytes

LEVELS = {0.1, 0.3, 0.5, 0.7, 0.9}


@pytest.fixture(scope="module")
def rows() -> list[Prompt]:
    return build()


def test_the_committed_file_is_what_the_material_gives(rows):
    committed = [jsonbytes.loads(line) for line in gzip.decompress(PROMPTS_PATH.read_bytes()).splitlines()]
    assert committed == [jsonbytes.loads(jsonbytes.dumps(row)) for row in rows], "run python -m neuroroute.classifier.corpus.build"


def test_building_twice_gives_the_same_bytes(rows, tmp_path):
    write(rows, tmp_path / "one.gz")
    write(build(), tmp_path / "two.gz")
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_the_file_stays_small(rows):
    assert PROMPTS_PATH.stat().st_size <= 2_000_000
    assert 6_000 <= len(rows) <= 10_000


def test_every_row_is_valid_and_has_an_id_of_its_own(rows):
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        assert row.category in LABELS
        assert row.difficulty in LEVELS
        assert re.fullmatch(r"[a-z]{2}", row.lang)
        assert row.source == "nr_corpus" and row.license == "CC0"
        assert row.prompt.strip() and len(row.prompt) <= 8_000


def test_no_slot_is_left_open(rows):
    open_slot = re.compile(r"\{(?:doc|docs|q)(?::[\w,]+)?\}|\{\{[^{}]*\|[^{}]*\}\}")
    assert [row.prompt[:80] for row in rows if open_slot.search(row.prompt)] == []


def test_no_family_floods_the_corpus(rows):
    families = Counter(row.group for row in rows)
    assert max(families.values()) <= len(rows) // 100
    assert len(families) >= 2_500


def test_a_family_has_one_label_and_one_language(rows):
    kinds = defaultdict(set)
    for row in rows:
        kinds[row.group].add((row.category, row.lang))
    assert [group for group, found in kinds.items() if len(found) > 1] == []


def test_no_written_prompt_stands_twice():
    seen = Counter((entry.lang, re.sub(r"[\W_]+", "", entry.text.lower()) or entry.text) for entry in material.written("base"))
    assert [text for (_, text), count in seen.items() if count > 1] == []


def test_many_languages_and_every_label_in_each(rows):
    by_lang = defaultdict(Counter)
    for row in rows:
        by_lang[row.lang][row.category] += 1
    assert len(by_lang) >= 16
    assert 0.35 <= by_lang["en"].total() / len(rows) <= 0.55
    assert {lang: set(LABELS) - set(counts) for lang, counts in by_lang.items() if set(LABELS) - set(counts)} == {}


def test_every_label_has_weight_and_levels(rows):
    labels = Counter(row.category for row in rows)
    assert min(labels.values()) >= 300
    for label in LABELS:
        assert len({row.difficulty for row in rows if row.category == label}) >= 3, label


@pytest.mark.parametrize("style", [style for style, _ in styles.STYLES])
def test_a_style_never_touches_pasted_code(style, rng_of):
    code = "\n\nfor (int i = 0; i < n; i++) {\n  s += a[i];\n}"
    for seed in range(20):
        assert code.strip("\n") in style("Why is this slow?" + code, "en", "code", rng_of(seed))


def test_typos_change_words_and_nothing_else_of_the_text(rng_of):
    text = "Please explain how photosynthesis works in desert plants during hot summers"
    spoilt = {styles.typos(text, "en", "factual_qa", rng_of(seed)) for seed in range(20)}
    assert len(spoilt) > 10
    assert all(0.8 * len(text) < len(one) < 1.2 * len(text) for one in spoilt)


def test_small_talk_gets_no_polite_run_up(rng_of):
    for style in (styles.preface, styles.suffix, styles.follow_up, styles.persona):
        assert style("hi", "en", "chat", rng_of(1)) == "hi"
