"""The scripts of deploy: clean for shellcheck, and run against stand-ins on PATH that note each call and fail when told to."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.image import ROOT

SCRIPTS = sorted((ROOT / "deploy").glob("*.sh"))
STAND_IN = """#!/usr/bin/env bash
line="$(basename "$0") $(printf '%s ' "$@" | tr -s '\\n\\t ' ' ')"
printf '%s\\n' "$line" >>"$CALLS"
case "$line" in *" history "*) printf '%s' "$HISTORY" ;; *"get deployment"*) printf registry/nr:running ;; *"image inspect"*) printf '%s' "$BEFORE" ;; esac
[ -z "$FAILS" ] || ! grep -qE -e "$FAILS" <<<"$line" || exit 1
# what fails until the old version is back
[ -z "$FAILS_UNTIL_BACK" ] || grep -qE ' rollback | tag sha' "$CALLS" || ! grep -qE -e "$FAILS_UNTIL_BACK" <<<"$line" || exit 1
exit 0
"""
HISTORY = '[{"revision": 3, "status": "superseded"}, {"revision": 4, "status": "deployed"}]'


class Stage:
    """A checkout's deploy folder with stand-ins in front of the real tools."""

    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls"
        self.root = folder / "checkout"
        shutil.copytree(ROOT / "deploy", self.root / "deploy", ignore=shutil.ignore_patterns("env.dev", "env.staging", "env.prod"))
        shutil.copytree(ROOT / "migrations", self.root / "migrations")
        (folder / "bin").mkdir()
        for tool in ("docker", "kubectl", "helm", "curl", "sleep"):
            (folder / "bin" / tool).write_text(STAND_IN)
            (folder / "bin" / tool).chmod(0o755)
        self.path = f"{folder / 'bin'}:{os.environ['PATH']}"

    def run(self, script: str, *arguments: str, stdin: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
        self.calls_file.write_text("")
        environment = {
            "PATH": self.path, "CALLS": str(self.calls_file), "HISTORY": HISTORY, "FAILS": "", "FAILS_UNTIL_BACK": "", "BEFORE": "sha256:old",
            "PUBLIC_URL": "http://gateway.test", "REGISTRY": "registry/nr", "HEALTH_TRIES": "4", **variables,
        }  # fmt: skip
        return subprocess.run(
            [str(self.root / "deploy" / script), *arguments],
            cwd=self.root, env=environment, input=stdin, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    @property
    def steps(self) -> list[str]:
        """What was done, in order, in a word each; a health check that was repeated stands once."""
        words = {
            r"^docker build": "build", r"^docker push": "push", r"--phase|\"--phase\"": "pre", r"migrate up|\"migrate\",\"up\"": "post",
            r"^helm .*upgrade": "roll", r"up --detach.* gateway": "roll", r"^curl": "health", r"^helm .*rollback|^docker tag": "back",
        }  # fmt: skip
        found = [word for line in self.calls for pattern, word in words.items() if re.search(pattern, line)]
        kept: list[str] = []
        for line in self.calls:
            word = next((word for pattern, word in words.items() if re.search(pattern, line)), None)
            if word and (not kept or kept[-1] != word):
                kept.append(word)
        assert len(kept) <= len(found)
        return kept

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_shellcheck_has_nothing_to_say():
    done = subprocess.run(["shellcheck", "-x", *map(str, SCRIPTS), ".ci/run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert len(SCRIPTS) == 5


def test_staging_goes_step_by_step(stage):
    done = stage.run("deploy-staging.sh")
    assert done.returncode == 0, done.stderr
    assert stage.steps == ["build", "push", "pre", "roll", "health", "post"]
    assert sum(line.startswith("curl") for line in stage.calls) == 3
    (roll,) = [line for line in stage.calls if "upgrade" in line]
    assert "image.repository=registry/nr" in roll and "config.AUTO_MIGRATE=false" in roll and "values-staging.yaml" in roll


def test_production_takes_the_image_of_staging(stage):
    done = stage.run("deploy-prod.sh", "--image", "registry/nr:abc", "--yes")
    assert done.returncode == 0, done.stderr
    assert stage.steps == ["pre", "roll", "health", "post"]
    assert stage.run("deploy-prod.sh", "--image", "registry/nr:abc", stdin="production\n").returncode == 0


@pytest.mark.parametrize("image", ["registry/nr:latest", "registry/nr:abc-dirty", "nr", ""])
def test_production_refuses_what_is_no_commit(stage, image):
    assert stage.run("deploy-prod.sh", "--image", image, "--yes").returncode != 0
    assert stage.calls == []


def test_production_asks(stage):
    assert stage.run("deploy-prod.sh", "--image", "registry/nr:abc", stdin="no\n").returncode == 1
    assert stage.calls == []


@pytest.mark.parametrize(
    ("fails", "steps"),
    [
        ("^docker build", ["build"]),
        ("^docker push", ["build", "push"]),
        ("--phase", ["build", "push", "pre"]),
        ("migrate-post", ["build", "push", "pre", "roll", "health", "post"]),
    ],
)
def test_what_fails_outside_the_roll_leaves_the_release_alone(stage, fails, steps):
    done = stage.run("deploy-staging.sh", FAILS=fails)
    assert done.returncode != 0
    assert stage.steps == steps


@pytest.mark.parametrize(
    ("fails", "steps"),
    [
        ("^curl", ["build", "push", "pre", "roll", "health", "back", "health"]),
        ("upgrade", ["build", "push", "pre", "roll", "back", "health"]),
    ],
)
def test_a_bad_version_is_rolled_back(stage, fails, steps):
    done = stage.run("deploy-staging.sh", FAILS_UNTIL_BACK=fails)
    assert done.returncode == 1 and "rolled back to revision 4, which is healthy" in done.stderr
    assert stage.steps == steps
    (back,) = [line for line in stage.calls if "rollback" in line]
    assert "rollback neuroroute 4 --wait" in back


def test_a_roll_back_that_fails_says_so(stage):
    done = stage.run("deploy-staging.sh", FAILS="^curl")
    assert done.returncode == 1 and "NOT healthy: act by hand" in done.stderr
    done = stage.run("deploy-staging.sh", FAILS="upgrade|rollback")
    assert done.returncode == 1 and "THE ROLL-BACK FAILED TOO" in done.stderr


def test_the_first_roll_out_has_nothing_to_go_back_to(stage):
    done = stage.run("deploy-staging.sh", FAILS="upgrade", HISTORY="[]")
    assert done.returncode == 1 and "nothing to go back to" in done.stderr
    assert "back" not in stage.steps


def test_dev_runs_on_this_machine(stage):
    done = stage.run("deploy-dev.sh")
    assert done.returncode == 0, done.stderr
    assert stage.steps == ["build", "pre", "roll", "health", "post"]
    done = stage.run("deploy-dev.sh", FAILS_UNTIL_BACK="^curl")
    assert done.returncode == 1 and stage.steps == ["build", "pre", "roll", "health", "back", "roll"]
    assert any("docker tag sha256:old neuroroute:latest" in line for line in stage.calls)


def test_migrations_of_an_environment(stage):
    assert stage.run("db-migrate.sh", "staging", "--status").returncode == 0
    assert any('"migrate","--status"' in line and "registry/nr:running" in line for line in stage.calls)
    assert stage.run("db-migrate.sh", "prod", "--deploy", "--phase", "pre").returncode == 0
    assert any('"migrate","up","--phase","pre"' in line and "--namespace neuroroute " in line for line in stage.calls)
    assert stage.run("db-migrate.sh", "dev", "--deploy").returncode == 0
    assert stage.calls[-1].rstrip().endswith("gateway migrate up")


def test_a_new_migration_gets_the_next_number(stage):
    from neuroroute.store import migrate

    done = stage.run("db-migrate.sh", "dev", "--create", "--name", "Add Teams", "--phase", "post")
    assert done.returncode == 0 and stage.calls == []
    assert migrate.files(stage.root / "migrations")[-1].name.endswith("_post_add_teams")


@pytest.mark.parametrize("words", [[], ["qa", "--status"], ["dev"], ["dev", "--create"], ["dev", "--create", "--name", "../x"], ["dev", "--deploy", "--phase", "mid"]])  # fmt: skip
def test_bad_words_are_told(stage, words):
    done = stage.run("db-migrate.sh", *words)
    assert done.returncode != 0 and done.stderr and stage.calls == []
