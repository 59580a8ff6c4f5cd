"""Counting and estimating tokens, without the network."""

import gzip
import socket
from importlib.resources import files

import pytest

from neuroroute.core import tokens

TEXTS = {
    "english": "The committee will meet again on Thursday to discuss whether the proposed changes to the schedule are acceptable to everyone. "
    * 4,
    "code": 'def total(rows: list[dict[str, int]]) -> int:\n    """Sum."""\n    return sum(row["amount"] for row in rows if row.get("paid"))\n'
    * 4,
    "json": '{"id": 4711, "name": "Ada", "tags": ["a", "b"], "score": 0.25, "active": true}\n' * 8,
    "german": "Die Sitzung wurde auf Donnerstag verschoben, weil der Vorsitzende erkrankt ist und niemand ihn vertreten kann. " * 4,
    "russian": "Заседание перенесено на четверг, потому что председатель заболел и никто не может его заменить. " * 4,
    "chinese": "会议推迟到星期四，因为主席生病了，没有人可以代替他主持会议。" * 6,
    "japanese": "議長が病気のため、会議は木曜日に延期されました。代わりを務める人はいません。" * 6,
    "arabic": "تم تأجيل الاجتماع إلى يوم الخميس لأن الرئيس مريض ولا يمكن لأحد أن يحل محله. " * 4,
    "digits": "31415926535 8979323846 2643383279 50288 419716939937510 582097494459 " * 6,
}


@pytest.fixture(scope="module")
def loaded() -> None:
    assert tokens.load("o200k_base", wait_s=60)


@pytest.mark.parametrize("name", TEXTS)
def test_estimates_are_near_the_count(name: str, loaded: None) -> None:
    counted, source = tokens.count(TEXTS[name], "gpt-4o-mini")
    assert source == "counted"
    assert tokens.estimate(TEXTS[name]) == pytest.approx(counted, rel=0.35)


def test_estimates_are_better_than_bytes_over_four(loaded: None) -> None:
    ours = theirs = 0.0
    for text in TEXTS.values():
        counted = tokens.count(text, "gpt-4o")[0]
        ours += abs(tokens.estimate(text) / counted - 1)
        theirs += abs(len(text.encode()) / 4 / counted - 1)
    assert ours < theirs / 2


def test_edges() -> None:
    assert tokens.estimate("") == 0
    assert tokens.estimate("a") == 1
    assert tokens.estimate("\ud800") >= 1
    assert tokens.estimate("aaaaaaaa" * 3) >= 1


def test_long_texts_are_judged_by_samples() -> None:
    text = TEXTS["english"] * 100
    assert tokens.estimate(text) == pytest.approx(tokens.estimate(TEXTS["english"]) * 100, rel=0.1)


def test_counts_are_those_of_the_tokeniser(loaded: None) -> None:
    assert tokens.count("hello world", "gpt-4o") == (2, "counted")
    assert tokens.count("hello world", "openai/gpt-4o-mini") == (2, "counted")
    assert tokens.count("<|endoftext|>", "gpt-4o")[0] > 1
    assert tokens.count("", "gpt-4o") == (0, "counted")
    long = "hello world " * 10_000
    number, source = tokens.count(long, "gpt-4o")
    assert source == "estimated"
    assert number == pytest.approx(20_000, rel=0.05)


def test_both_rank_files_are_whole() -> None:
    for name, digest in tokens.SHA256.items():
        ranks = tokens.packaged_ranks(f"https://anywhere/{name}.tiktoken", digest)
        assert len(ranks) in (199_998, 100_256)
    with pytest.raises(ValueError, match="damaged"):
        tokens.packaged_ranks("https://anywhere/cl100k_base.tiktoken", "0" * 64)
    with pytest.raises(OSError):
        tokens.packaged_ranks("https://anywhere/other.tiktoken")


def test_the_older_tokeniser_loads_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    assert tokens.load("cl100k_base", wait_s=60)
    assert tokens.count("hello world", "gpt-4-turbo") == (2, "counted")


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o", "o200k_base"), ("openai/gpt-4.1-mini", "o200k_base"), ("o3", "o200k_base"), ("gpt-5-nano", "o200k_base"), ("gpt-4", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"), ("claude-sonnet-4", None), ("llama-3", None), ("", None),
    ],
)  # fmt: skip
def test_models_and_their_tokenisers(model: str, encoding: str | None) -> None:
    assert tokens.encoding_of(model) == encoding


def test_the_ratio_of_a_model_is_learned_and_bounded() -> None:
    for _ in range(200):
        tokens.learn("house-7b", 100, 150)
        tokens.learn("absurd", 100, 10**9)
    assert tokens.scaled("house-7b", 1000) == pytest.approx(1500, rel=0.02)
    assert tokens.scaled("absurd", 100) <= 400
    assert tokens.scaled("never-seen", 100) == 100
    assert tokens.count("some words here", "house-7b")[1] == "estimated"


def test_one_wild_report_does_not_overturn_what_was_learned() -> None:
    for _ in range(50):
        tokens.learn("steady", 100, 110)
    tokens.learn("steady", 100, 390)
    assert tokens.scaled("steady", 1000) < 1300


def test_the_package_carries_the_ranks() -> None:
    for name in tokens.SHA256:
        assert gzip.decompress(files("neuroroute.core").joinpath("ranks", f"{name}.tiktoken.gz").read_bytes()).startswith(b"IQ== 0")
