"""
What a prompt asks for and how hard it is: label, difficulty, language, each calibrated, in about 100 us on one core without I/O.

`Classifier.load()` reads the packaged weights once; `read(prompt)` gives a `Reading`; `success` turns it and a model's quality per label
into P(good answer). The life of a reading: `features` cuts a bounded window of the prompt into named features, `table` sums their int8
weights, `model` calibrates the sums, `language` guesses the language. `batch` answers lines of prompts.

`train` makes the weights from open data, `evaluate` measures them (both need the extra `[train]`); `weights/card.json` says what they were
made from, how good they are, and where they are weak.
"""

from neuroroute.classifier.labels import LABELS
from neuroroute.classifier.model import Classifier, Reading
from neuroroute.classifier.success import success

__all__ = ["LABELS", "Classifier", "Reading", "success"]
