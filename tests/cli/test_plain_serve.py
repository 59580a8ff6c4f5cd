"""`serve` that is told plainly needs no library of the command line, and hears the same."""

import subprocess
import sys

import pytest
from typer.main import get_command

from neuroroute.cli import SERVES, plainly
from neuroroute.cli.line import command_line
from neuroroute.core.settings import read


def test_the_plain_options_are_those_of_the_command_line():
    described = get_command(command_line("serve")).commands["serve"]  # type: ignore[attr-defined]
    assert {option for parameter in described.params for option in parameter.opts} - {"--help"} == set(SERVES)


def test_they_reach_the_settings():
    told = plainly(["serve", "--host", "::1", "--port", "8080", "--workers", "3", "--config", "a.yaml", "--data-dir", "b"])
    assert told is not None
    found = read(**told)
    assert (found.host, found.port, found.workers, str(found.neuroroute_config), str(found.neuroroute_data_dir)) == (
        "::1",
        8080,
        3,
        "a.yaml",
        "b",
    )
    assert plainly(["serve"]) == {}


@pytest.mark.parametrize(
    "words",
    [[], ["keys"], ["serve", "--help"], ["serve", "--port"], ["serve", "--port", "x"], ["serve", "--port", "-1"], ["serve", "--port=1"],
     ["serve", "--host", "--port"], ["serve", "--config", ""], ["serve", "--no", "1"], ["serve", "a", "b"]],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_command_line(words):
    assert plainly(words) is None


def test_the_library_is_not_imported():
    code = "import sys, neuroroute.cli, neuroroute.serve.run, neuroroute.app; sys.exit('typer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
