"""The wheel carries all that the gateway needs, and nothing that it does not."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.rules.test_house import ROOT, tracked

CODE = """
import neuroroute, neuroroute.app
from neuroroute.store import migrate
from neuroroute.classifier import Classifier
from neuroroute.routing.facts import facts
assert "_migrations" in str(migrate.folder()), migrate.folder()
assert migrate.files(), "no migrations"
Classifier.load()
facts()
print(neuroroute.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], cwd=ROOT, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_every_file_of_the_package_is_in_it_but_the_corpus(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {str(path.relative_to(ROOT)) for path in tracked() if path.is_relative_to(ROOT / "neuroroute")}
    corpus = {name for name in wanted if name.startswith("neuroroute/classifier/corpus/")}
    assert corpus and wanted - corpus <= names
    assert not {name for name in names if "/corpus/" in name or name.startswith(("tests/", "deploy/"))}
    assert {f"neuroroute/_migrations/{path.name}" for path in (ROOT / "migrations").glob("*.sql")} <= names


def test_it_runs_from_what_it_carries(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)


def test_it_has_the_command_and_the_licence(wheel):
    bundle = zipfile.ZipFile(wheel)
    info = next(name.split("/")[0] for name in bundle.namelist() if ".dist-info/" in name)
    assert "neuroroute = neuroroute.__main__:main" in bundle.read(f"{info}/entry_points.txt").decode()
    assert f"{info}/licenses/LICENSE" in bundle.namelist()
