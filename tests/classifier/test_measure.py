"""The metrics against figures that can be worked out by hand, and the picture against its data."""

import xml.etree.ElementTree as ET
from pathlib import Path
from random import Random

import pytest

np = pytest.importorskip("numpy", reason="the trainer's extra [train] is not installed")
pytest.importorskip("scipy", reason="the trainer's extra [train] is not installed")

from neuroroute.classifier import Classifier, augment, card, data, measure, recipe, train
from neuroroute.classifier.chart import picture
from neuroroute.classifier.data import Example
from neuroroute.classifier.labels import LABELS
from neuroroute.classifier.many import area, report, stream_of
from neuroroute.classifier.metrics import apgr, calibration, calls_for, interval, macro_f1, recovered


def test_a_perfect_order_recovers_the_gain_early_and_a_reversed_one_late() -> None:
    weak, strong = np.array([0.0] * 5 + [1.0] * 5), np.ones(10)
    right = np.arange(10.0, 0.0, -1.0)
    assert recovered(right, weak, strong)[5] == pytest.approx(1.0)
    assert apgr(right, weak, strong) == pytest.approx(0.75)
    assert apgr(-right, weak, strong) == pytest.approx(0.25)
    assert calls_for(right, weak, strong, 0.5) == pytest.approx(0.25)
    assert calls_for(right, weak, strong, 0.8) == pytest.approx(0.4)


def test_random_scores_are_worth_a_half() -> None:
    dice = np.random.default_rng(1)
    weak = dice.integers(0, 2, 20000).astype(float)
    assert apgr(dice.random(20000), weak, np.ones(20000)) == pytest.approx(0.5, abs=0.02)


def test_f1_counts_only_the_labels_that_occur() -> None:
    assert macro_f1(["a", "a", "b"], ["a", "b", "b"]) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert macro_f1(["a", "a"], ["a", "z"]) == pytest.approx(2 / 3)


def test_calibration_error_is_the_gap_between_saying_and_being_right() -> None:
    error, plot = calibration(np.full(100, 0.9), np.array([1.0] * 60 + [0.0] * 40))
    assert error == pytest.approx(0.3)
    assert plot == [(0.9, 0.6, 100)]
    low, high = interval(lambda rows: float(np.arange(100.0)[rows].mean()), 100)
    assert low < 49.5 < high


def test_the_area_is_that_of_the_upper_hull() -> None:
    assert area([(0.0, 0.0), (1.0, 1.0)], 0.0, 1.0) == pytest.approx(0.5)
    assert area([(0.0, 0.0), (0.5, 0.2), (1.0, 1.0)], 0.0, 1.0) == pytest.approx(0.5)
    assert area([(0.0, 0.0), (0.5, 0.8), (1.0, 1.0)], 0.0, 1.0) > 0.6


def _streamed() -> dict[str, object]:
    dice = np.random.default_rng(5)
    difficulty = dice.random(400)
    examples = []
    for at, hard in enumerate(difficulty):
        quality = {"Phi-3-mini-4k-instruct": float(hard < 0.5), "Qwen1.5-110B": float(hard < 0.9)}
        examples.append(Example(str(at), "mmlu_pro", f"g{at % 4}", "en", "question " * 20, "factual_qa", quality=quality))
    posterior = np.tile([1.0 if label == "factual_qa" else 0.0 for label in LABELS], (400, 1))
    return report(stream_of("mmlu_pro", examples, posterior, difficulty, 8.0, {"factual_qa": 0.5}))


def test_where_difficulty_is_known_the_dial_beats_the_line_between_the_models() -> None:
    found = _streamed()
    dial = found["dial"]
    assert isinstance(dial, dict)
    assert max(point["above_line"] for point in dial.values()) > 0.05
    assert dial["0"]["quality"] < dial["10"]["quality"]
    aiq = found["aiq"]
    assert isinstance(aiq, dict)
    assert aiq["auto"] > aiq["single_models_hull"] > 0.0


def test_the_picture_is_well_formed_and_shows_every_model_and_setting() -> None:
    tree = ET.fromstring(picture("two <models>", _streamed()))
    titles = [element.text for element in tree.iter("{http://www.w3.org/2000/svg}title")]
    assert {"Phi-3-mini-4k-instruct", "Qwen1.5-110B", "dial 0", "dial 10"} <= set(titles)


def test_without_its_data_the_trainer_says_what_is_missing(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert train.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "categories_realistic.jsonl.gz is missing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_messy_copies_differ_and_are_the_same_for_the_same_dice() -> None:
    prompt = "Please translate the following sentence into German, then explain the grammar."
    made = {kind: mess(prompt, Random(4), "en") for kind, mess in augment.KINDS.items()}
    assert all(text != prompt for text in made.values())
    assert augment.messy(prompt, Random(4), "de") == augment.messy(prompt, Random(4), "de")
    assert "Answer:" not in augment.asked_in_chat("What is it?\nA. this\nB. that\nAnswer:", Random(2))


def test_the_packages_own_prompts_have_known_labels() -> None:
    assert {example.label for example in data.read_corpus()} <= set(LABELS)


def test_the_packaged_card_prints_and_draws_without_the_data(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    from neuroroute.classifier import evaluate

    assert evaluate.main(["--card-only", "--pictures", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "balanced:" in printed
    assert "known weaknesses:" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) >= ["llmrouter.svg", "mmlu_pro.svg"]


def test_on_measured_answers_no_dial_setting_is_worse_than_the_straight_line_and_balanced_saves_half() -> None:
    from neuroroute.classifier import Classifier

    reports = Classifier.load().card["metrics"]["many_models"]
    for name, entry in ((name, reports[name]) for name in ("mmlu_pro", "llmrouter")):
        assert min(point["above_line"] for point in entry["dial"].values()) > -0.001, name
        assert entry["balanced"]["quality_share"] >= 0.95, name
        assert entry["balanced"]["cost_share"] <= 0.5, name


def _question(at: int, subject: str, *, weak: float, strong: float, prompt: str = "", source: str = "routellm_mmlu") -> Example:
    return Example(
        f"{source}-{at}",
        source,
        subject,
        "en",
        prompt or f"Question {at}?\nA. yes\nB. no\nAnswer:",
        "factual_qa",
        1.0 - weak,
        strong - weak,
    )


def test_a_subject_in_which_the_strong_model_guesses_worse_than_chance_is_no_evidence() -> None:
    broken = [_question(at, "broken", weak=0.5, strong=float(at == 0)) for at in range(10)]
    sound = [_question(at, "sound", weak=0.5, strong=1.0) for at in range(10, 20)]
    assert recipe.misread(broken + sound) == {"routellm_mmlu/broken"}
    rows = train.fit.Vocabulary([]).matrix(train.fit.documents(e.prompt for e in broken + sound))
    sheet = recipe.make_sheet(broken + sound, rows)
    assert not sheet.exam_weights[:10].any()
    assert sheet.exam_weights[10:].all()


def test_a_question_is_known_again_with_other_choices_and_an_original_from_its_copy() -> None:
    plain = "Which of these is a metal?\nA. sulphur\nB. copper\nAnswer:"
    assert recipe.stem_of(plain) == recipe.stem_of("Which of these is a metal\nA. iodine\nB. zinc\nC. neon") == "which of these is a metal"
    one, two = _question(1, "a", weak=0.0, strong=1.0), _question(2, "a", weak=0.0, strong=1.0)
    assert recipe.originals([one, two, one]).tolist() == [True, True, False]


def test_heads_for_unseen_subjects_learn_neither_the_subject_nor_its_question_in_another_set() -> None:
    asked = [f"q{chr(97 + at // 26)}{chr(97 + at % 26)}zz " * 3 for at in range(120)]
    examples = [_question(at, f"s{at % 6}", weak=0.0, strong=float(at // 6 % 2), prompt=asked[at]) for at in range(120)]
    twins = [_question(at, "field", weak=0.0, strong=float(at // 6 % 2), prompt=asked[at], source="mmlu_pro") for at in range(120)]
    seen = train.fit.documents(e.prompt for e in examples + twins)
    vocabulary = train.fit.Vocabulary.counted(seen, 1)
    sheet = recipe.make_sheet(examples + twins, vocabulary.matrix(seen))
    draws = train.unseen_subjects(sheet)
    assert len(draws) == train.DRAWS
    for rows, scores in draws:
        drawn = {sheet.examples[int(at)].group for at in rows}
        assert len(drawn) == 2
        assert len(rows) == 40
        # No word is shared with what was learnt: no head may tell one of these questions from another.
        told = scores[:, [train.EXAM_HEAD - len(LABELS), train.FIELD - len(LABELS)]]
        assert np.ptp(told, axis=0).max() < 1e-6
    table, _ = train.fit_outcomes(sheet, 50)
    assert np.ptp((sheet.rows @ table)[:, train.EXAM_HEAD - len(LABELS)]) > 0.1
    figures = measure.subject_figures(sheet, draws, train.scale(length=1.0))
    assert figures["all"]["apgr_95"][0] <= figures["all"]["apgr"] <= figures["all"]["apgr_95"][1]
    assert figures["draws"] == len(draws)


def test_a_mixed_stream_and_second_pairs_reward_the_order_that_the_answers_ask_for() -> None:
    dice = np.random.default_rng(3)
    examples = []
    for at in range(300):
        weak, strong = float(dice.integers(0, 2)), 1.0
        quality = {"mistral-7b-instruct-v0.3": weak, "llama-3.1-8b-instruct": weak, "gemma-2-9b-it": weak}
        quality |= {"llama-3.3-nemotron-super-49b-v1": strong, "llama-3.1-nemotron-51b-instruct": strong}
        quality |= {name: value for first, second in measure.SECOND_PAIRS["mmlu_pro"] for name, value in ((first, weak), (second, strong))}
        quality |= {"Meta-Llama-3_1-8B-Instruct": weak, "Mistral-7B-Instruct-v0.2": weak, "gemma-7b": weak}
        group = "mbpp" if at % 3 else "arc_challenge"
        source = ("llmrouter", "mmlu_pro", "routellm_mmlu", "routellm_gsm8k")[at % 4]
        examples.append(Example(str(at), source, group, "en", "x", "code", 1.0 - weak, strong - weak, quality))
    sheet = recipe.make_sheet(examples, train.fit.Vocabulary([]).matrix(train.fit.documents(e.prompt for e in examples)))
    needed = np.array([example.gained for example in examples], dtype=float)
    assert measure.mixed_stream(sheet, needed)["apgr"] > 0.7
    assert measure.mixed_stream(sheet, -needed)["apgr"] < 0.3
    others = measure.second_pairs(sheet, needed)
    assert others["mean"] > 0.7
    assert others["mean_95"][0] < others["mean"] < others["mean_95"][1]
    # Which task it is says nothing here of which answers fail.
    assert others["mean_of_known_tasks"] == pytest.approx(0.5, abs=0.1)
    stream = measure.stream_of_tasks(sheet, needed)
    assert stream["tasks"] == 4
    assert stream["mean"] > 0.7
    assert measure.stream_of_tasks(sheet, -needed)["mean"] < 0.3


def test_the_readme_shows_the_figures_of_the_packaged_card() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert card.readme_table(Classifier.load().card) in readme
