"""
The generated parts of the documents: the tables of settings, metrics and commands in README.md, and deploy/env.example.

`--check` only looks whether they are up to date.
"""

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from neuroroute.core.settings import Entry, table
from neuroroute.telemetry.metrics import METRICS

ROOT = Path(__file__).parents[2]


def settings_markdown() -> str:
    """The settings as tables, one for each group."""
    lines = []
    for group, entries in groupby(table(), key=lambda entry: entry.group):
        lines += [f"**{group[0].upper()}{group[1:]}**", "", "| variable | default | meaning |", "|---|---|---|"]
        lines += [f"| `{entry.variable}` | {_default(entry)} | {entry.meaning.replace('|', '&#124;')} |" for entry in entries]
        lines.append("")
    return "\n".join(lines)


def metrics_markdown() -> str:
    """The metrics as a table, by the names that Prometheus reads."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for metric in METRICS:
        name = f"{metric.name}_total" if metric.kind == "counter" else metric.name
        lines.append(f"| `{name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help.replace('|', '&#124;')} |")
    return "\n".join(lines) + "\n"


def commands_markdown() -> str:
    """The verbs of the command line as a table, each with what its own help says first."""
    from typer.main import get_command

    from neuroroute.cli.line import command_line

    lines = ["| command | what it does |", "|---|---|"]
    lines += [f"| `{name}` | {text.replace('|', '&#124;')} |" for name, text in _verbs("neuroroute", get_command(command_line()))]
    return "\n".join(lines) + "\n"


def _verbs(name: str, command: Any) -> Iterator[tuple[str, str]]:
    """(as it is typed, first line of its help) of a command, or of all below it."""
    below = dict(getattr(command, "commands", {}))
    if not below or getattr(command, "invoke_without_command", False):
        words = [word for parameter in command.params if (word := _argument(parameter))]
        if name != "neuroroute":
            yield " ".join([name, *words]), (command.help or "").strip().splitlines()[0]
    for verb, found in below.items():
        yield from _verbs(f"{name} {verb}", found)


def _argument(parameter: Any) -> str:
    if parameter.param_type_name != "argument":
        return ""
    word = str(parameter.name).upper()
    return word if parameter.required else f"[{word}]"


def _between(text: str, name: str, fresh: str) -> str:
    """`text` with what stands between the marks of `name` replaced."""
    begin, end = f"<!-- {name}: begin (make docs) -->", f"<!-- {name}: end -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{fresh}\n{end}{after}"


def _default(entry: Entry) -> str:
    if not entry.default:
        return ""
    return entry.default if " " in entry.default and "MiB" not in entry.default else f"`{entry.default}`"


def env_example() -> str:
    """All settings as a .env file, switched off."""
    lines = ["# Settings of NeuroRoute. Copy to .env and switch on what you need; what is off has the value shown."]
    for group, entries in groupby(table(), key=lambda entry: entry.group):
        lines += ["", f"# --- {group}"]
        for entry in entries:
            value = "" if " " in entry.default and "MiB" not in entry.default else entry.default
            lines += [f"# {entry.meaning.replace('`', '')}", f"#{entry.variable}={value}"]
    return "\n".join(lines) + "\n"


def documents() -> Iterator[tuple[Path, str]]:
    """Each document that has generated parts, and its text as it should be."""
    readme = ROOT / "README.md"
    text = _between(readme.read_text(encoding="utf-8"), "settings", settings_markdown())
    text = _between(text, "metrics", metrics_markdown())
    yield readme, _between(text, "commands", commands_markdown())
    yield ROOT / "deploy" / "env.example", env_example()


def main(arguments: list[str]) -> int:
    """The exit status: 1 if `--check` found something out of date."""
    stale = [(path, text) for path, text in documents() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path, text in stale:
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is out of date: make docs", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(ROOT)} is written")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
