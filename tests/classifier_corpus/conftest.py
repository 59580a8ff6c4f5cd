"""Seeded randomness for the styles."""

import random
from collections.abc import Callable

import pytest


@pytest.fixture
def rng_of() -> Callable[[int], random.Random]:
    return random.Random
