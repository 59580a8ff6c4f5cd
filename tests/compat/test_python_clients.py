"""Python clients, each in a process with its own packages, against three kinds of provider at once."""

import os
import sys
from pathlib import Path

import pytest

from tests.compat.environments import PYTHON, or_skip, python_packages
from tests.compat.house import house
from tests.compat.listed import LISTED

CLIENTS = Path(__file__).parent / "clients"


@pytest.mark.parametrize(("client", "packages"), [pytest.param(*pair, id="-".join(pair)) for pair in LISTED if pair[1] in PYTHON])
async def test_a_client_does_each_listed_thing(database_url: str, subtests: pytest.Subtests, client: str, packages: str) -> None:
    folder = or_skip(lambda: python_packages(packages))
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    async with house(database_url) as at:
        script = str(CLIENTS / f"{client}.py")
        results = await at.run(sys.executable, "-W", "ignore", script, environment={**kept, "PYTHONPATH": str(folder)})
        for result in results:
            with subtests.test(msg=f"{result.check} on {result.kind}"):
                if result.fault is not None:
                    pytest.fail(result.fault, pytrace=False)
        assert {result.check for result in results} >= LISTED[client, packages]
        await at.keeps_books(results)
