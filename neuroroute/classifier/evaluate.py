"""
Prints the card of the packaged weights, measures them anew by cross-validation and draws the cost-quality picture.

`python -m neuroroute.classifier.evaluate [--data FOLDER] [--pictures FOLDER] [--card-only]`; needs the extra `[train]` and takes as long as
training, because every fold is fitted again.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuroroute.classifier import card, data, train
from neuroroute.classifier.chart import picture
from neuroroute.classifier.model import Classifier


def draw(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """One SVG per stream of many models."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, entry in report["metrics"]["many_models"].items():
        path = folder / f"{name}.svg"
        path.write_text(picture(f"auto at dial 0..10 on {name}: {entry['models']} models, {entry['prompts']:,} prompts", entry))
        written.append(path)
    return written


def measured_anew(folder: Path) -> dict[str, Any]:
    """The card of a run on the same data. Raises: DataMissing."""
    found = train.load_examples(folder)
    made = train.learn(found)
    return card.card_of(made, found, train.packed(made), folder)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m neuroroute.classifier.evaluate", description="Print and check the prompt classifier's card."
    )
    parser.add_argument("--data", type=Path, default=train.data_folder(), help="folder of the routing data")
    parser.add_argument("--pictures", type=Path, default=Path("build/routing"), help="where the SVG pictures go")
    parser.add_argument("--card-only", action="store_true", help="print and draw the packaged card, measure nothing")
    given = parser.parse_args(arguments)
    packaged = Classifier.load().card
    sys.stdout.write(card.table_of(packaged))
    shown = packaged
    if not given.card_only:
        try:
            shown = measured_anew(given.data)
        except data.DataMissing as fault:
            sys.stderr.write(f"{fault}\n")
            return 2
        sys.stdout.write("\nmeasured anew:\n" + card.table_of(shown))
    for path in draw(shown, given.pictures):
        sys.stdout.write(f"picture: {path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
