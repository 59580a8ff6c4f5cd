"""
A training run of a few seconds on questions made by rule and the package's own prompts, for comparing its bytes between processes:
`python -m tests.classifier.training_slice` writes the table's file to standard output.
"""

import sys
from dataclasses import replace
from random import Random

from neuroroute.classifier import data, train
from neuroroute.classifier.data import Example

_THINGS = "apples pens cats coins books tickets boxes stamps".split()
_SUBJECTS = {
    "law": "Which court hears an appeal about {0} and {1}?",
    "biology": "Which organ of {0} turns sugar into {1}?",
    "physics": "What is the momentum of {0} {1} at rest?",
}
_STAND_INS = (("oasst", "en"), ("multiseed", "de"), ("belle_eval", "zh"))


def examples() -> list[Example]:
    dice = Random(5)
    own = [example for example in data.read_corpus() if example.lang in ("en", "de", "zh")]
    made = dice.sample(own, 240)
    for source, lang in _STAND_INS:
        real = dice.sample([example for example in own if example.lang == lang], 30)
        made += [replace(example, id=f"{source}-{at}", source=source, group="all", difficulty=None) for at, example in enumerate(real)]
    for at in range(150):
        subject = dice.choice(sorted(_SUBJECTS))
        stem = _SUBJECTS[subject].format(*dice.sample(_THINGS, 2))
        choices = "\n".join(f"{letter}. {thing}" for letter, thing in zip("ABCD", dice.sample(_THINGS, 4), strict=True))
        made.append(_asked("routellm_mmlu", subject, at, f"{stem} ({at})\n{choices}\nAnswer:", "factual_qa", dice))
        wide = "\n".join(f"{letter}. {number}" for letter, number in zip("ABCDEFGHIJ", dice.sample(range(99), 10), strict=True))
        made.append(_asked("mmlu_pro", subject, at, f"{stem} [{at}]\n{wide}\nAnswer:", "factual_qa", dice))
        one, two = dice.sample(_THINGS, 2)
        told = f"Ann has {dice.randint(2, 90)} {one} and buys {dice.randint(2, 90)} {two} more. How many has she?"
        made.append(_asked("routellm_gsm8k", "gsm8k_test", at, told, "math", dice))
    return made


def _asked(source: str, group: str, at: int, prompt: str, label: str, dice: Random) -> Example:
    weak, strong = float(dice.random() < 0.5), float(dice.random() < 0.8)
    return Example(f"{source}-{at}", source, group, "en", prompt, label, 1.0 - weak, strong - weak)


if __name__ == "__main__":
    sys.stdout.buffer.write(train.packed(train.learn(examples())))
