"""What the README shows can be typed: its snippets parse, and name only endpoints, headers, settings, verbs and files that there are."""

import ast
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from neuroroute.chain.steering import steering
from neuroroute.cli.line import command_line
from neuroroute.core import settings
from neuroroute.core.config import build, parse
from neuroroute.web.routes import table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROSE = re.sub(r"<!-- (\w+): begin.*?<!-- \1: end -->", "", README, flags=re.DOTALL)
"""The README without its generated parts."""
OF_OTHERS = {"OPENAI_API_BASE", "OPENAI_API_BASE_URL", "NEUROROUTE_API_KEY", "KEY_ID"}
"""Variables that clients read, and words of the generated tables."""


def blocks(*languages: str) -> list[str]:
    """The fenced blocks in these languages, in order."""
    return [code for language, code in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE) if language in languages]


def commands() -> list[list[str]]:
    """The words of every `neuroroute ...` that is shown, in blocks and in the text."""
    shown = [line for block in blocks("sh", "console") for line in re.split(r"\n|\||&&", block)]
    shown += re.findall(r"`(neuroroute [^`]+)`", PROSE)
    lines = [line.strip() for line in shown if line.strip().startswith("neuroroute ")]
    return [shlex.split(line, comments=True) for line in lines]


def test_the_readme_has_what_is_looked_at():
    assert len(blocks("sh")) > 8 and len(blocks("python")) > 4 and blocks("js") and blocks("yaml") and len(commands()) > 15


@pytest.mark.parametrize("code", blocks("sh", "console"))
def test_shell_parses(code):
    done = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr


@pytest.mark.parametrize("code", blocks("python"))
def test_python_parses(code):
    ast.parse(code)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
@pytest.mark.parametrize("code", blocks("js"))
def test_javascript_parses(code, tmp_path):
    (tmp_path / "snippet.mjs").write_text(code)
    done = subprocess.run(["node", "--check", str(tmp_path / "snippet.mjs")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_configuration_is_good():
    ours = [code for code in blocks("yaml") if "endpoints" not in yaml.safe_load(code)]
    assert ours
    for code in ours:
        layer = parse(code, "README.md", {"OPENAI_API_KEY": "sk-x", "ANTHROPIC_API_KEY": "sk-y"})
        assert build(layer).models


def test_every_endpoint_exists():
    routes = [re.sub(r":[^}]*\}", "}", route.path) for route in table(settings.read({})) if "{tail" not in route.path]
    patterns = [re.compile("^" + re.sub(r"\{\w+\}", "[^/]+", path) + "$") for path in routes]
    first = {path.split("/")[1] for path in routes}
    named = set(re.findall(r"(?<![\w.~{/-])/[a-z0-9][\w{}$./-]*", PROSE)) | set(re.findall(r"localhost:3000(/[^\s\"?]+)", PROSE))
    asked = {path.rstrip(".") for path in named if path.split("/")[1] in first} - {"/v1", "/admin", "/dashboard"}
    assert len(asked) > 20
    assert sorted(path for path in asked if not any(pattern.match(path) for pattern in patterns)) == []


def test_every_header_is_one_of_ours():
    source = "\n".join(path.read_text(encoding="utf-8").lower() for path in (ROOT / "neuroroute").rglob("*.py"))
    named = {name.lower() for name in re.findall(r"\b[xX]-[\w-]+\b", PROSE)}
    assert len(named) > 8
    ways = {name: (f'"{name}', f'"{name.removeprefix("x-neuroroute-")}"') for name in named}
    assert sorted(name for name, forms in ways.items() if not any(form in source for form in forms)) == []


def test_every_setting_exists():
    known = {entry.variable for entry in settings.table()} | OF_OTHERS
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", PROSE))
    assert len(named) > 10
    assert named - known == set()


def test_every_way_of_steering_exists():
    rows = re.search(r"\| header \| `neuroroute\.` \|.*?\n\n", PROSE, re.DOTALL)
    assert rows is not None
    named = {name for row in rows[0].splitlines()[2:] if row for name in re.findall(r"`(\w+)`", row.split("|")[2])}
    assert {"policy", "explain", "resumable"} <= named
    for name in named:
        steering({}, {"neuroroute": {name: None}})  # refuses what it does not know
    bodies = [json.loads(text) for code in blocks("sh") for text in re.findall(r"-d '(\{.*?\})'", code, re.DOTALL)]
    assert len(bodies) > 4
    for body in bodies:
        steering({}, body)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_option_exists(words):
    command, path = get_command(command_line()), "neuroroute"
    rest = words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        path = f"{path} {rest[0]}"
        command = command.commands[rest[0]]
        rest = rest[1:]
    assert path != "neuroroute", f"{words[1]} is no verb"
    known = {name for parameter in command.params for name in parameter.opts}
    for word in rest:
        if word == "--":
            break
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in known, f"{path} has no {word}"
    takes_arguments = any(parameter.param_type_name == "argument" for parameter in command.params)
    assert takes_arguments or not hasattr(command, "commands") or not rest or rest[0].startswith("-"), f"{path} has no {rest}"


def test_every_file_exists():
    linked = re.findall(r"\]\(([^)#][^)]*)\)", README)
    named = re.findall(r"`((?:neuroroute|tests|migrations|deploy|core|web|routing|adapters|telemetry)/[\w./]*)`", PROSE)
    assert len(named) > 10
    missing = [name for name in [*linked, *named] if not (ROOT / name).exists() and not (ROOT / "neuroroute" / name).exists()]
    assert missing == []


def test_every_link_within_leads_somewhere():
    heads = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.*)$", README, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]*)\)", README)) <= heads


def test_every_measured_figure_stands_where_it_was_measured():
    said = PROSE.partition("(tests/bench/README.md)")[2].partition("**How well it chooses**")[0]
    figures = re.findall(r"(?<![\w-])\d+(?:\.\d+)?(?![\w-])", said)
    measured = re.findall(r"\d+(?:\.\d+)?", (ROOT / "tests" / "bench" / "README.md").read_text(encoding="utf-8"))
    assert len(figures) > 12
    assert [figure for figure in figures if figure not in measured] == []


def test_what_is_said_of_its_choices_is_what_the_card_says():
    card = json.loads((ROOT / "neuroroute" / "classifier" / "weights" / "card.json").read_text())["metrics"]
    said = re.sub(r"\s+", " ", PROSE.partition("**How well it chooses**")[2].partition("\n\n**")[0])
    many, exams, labels = card["many_models"], card["difficulty_cross_validated"]["routellm_mmlu"], card["labels_source_left_out"]["all"]
    for name, models in (("mmlu_pro", "models"), ("llmrouter", "prompts")):
        of = many[name]
        shares = of["balanced"]
        assert f"{of['models']} models on {of['prompts']:,} " in said, models
        assert f"{shares['quality_share']:.1%}".replace("%", " %") in said and f"{shares['cost_share']:.0%}".replace("%", " %") in said
    assert f"the {many['mmlu_pro_models_that_answered_all']['models']} of them" in said
    one = many["mmlu_pro_models_that_answered_all"]["balanced"]
    assert f"it keeps to that one: {one['quality_share']:.1%} for {one['cost_share']:.0%}".replace("%", " %") in said
    assert f"APGR {exams['apgr']:.2f}".replace("0.", ".") in said and f"{labels['accuracy']:.0%}".replace("%", " %") in said
    assert f"{labels['prompts']:,} prompts" in said and f"{labels['expected_calibration_error']:.3f}"[1:] in said
    unseen = card["difficulty_unseen_subjects"]["without_misread_subjects"]["apgr"]
    assert f"{unseen:.2f}"[1:] + " on subjects never seen" in said
