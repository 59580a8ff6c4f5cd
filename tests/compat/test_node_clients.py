"""Node clients, each in a process with the packages of the committed lock file, against three kinds of provider at once."""

import os
import shutil
from pathlib import Path

import pytest

from tests.compat.environments import NODE_FOLDER, node_packages, or_skip
from tests.compat.house import house
from tests.compat.listed import LISTED


@pytest.mark.parametrize("client", [pytest.param(client, id=client) for client, packages in LISTED if packages == "node"])
async def test_a_client_does_each_listed_thing(database_url: str, tmp_path: Path, subtests: pytest.Subtests, client: str) -> None:
    packages = or_skip(node_packages)
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")  # Node looks for packages above the script
    for script in NODE_FOLDER.glob("*.mjs"):
        shutil.copy(script, tmp_path)
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    async with house(database_url) as at:
        results = await at.run("node", "--no-warnings", str(tmp_path / f"{client}.mjs"), environment=kept)
        for result in results:
            with subtests.test(msg=f"{result.check} on {result.kind}"):
                if result.fault is not None:
                    pytest.fail(result.fault, pytrace=False)
        assert {result.check for result in results} >= LISTED[client, "node"]
        await at.keeps_books(results)


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (NODE_FOLDER / "package-lock.json").read_text(encoding="utf-8")
