"""The 13 task labels, in the order in which every table of the classifier keeps them."""

from typing import Final

LABELS: Final[tuple[str, ...]] = (
    "code",
    "math",
    "reasoning",
    "writing",
    "roleplay",
    "rewriting",
    "summarization",
    "extraction",
    "classification",
    "translation",
    "factual_qa",
    "advice",
    "chat",
)
