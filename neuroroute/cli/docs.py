"""The generated parts of the documents: the settings table of README.md and deploy/env.example. `--check` only looks whether they are up to date."""

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from neuroroute.core.settings import Entry, table

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- settings: begin (make docs) -->", "<!-- settings: end -->"


def markdown() -> str:
    """The settings as tables, one for each group."""
    lines = []
    for group, entries in groupby(table(), key=lambda entry: entry.group):
        lines += [f"**{group[0].upper()}{group[1:]}**", "", "| variable | default | meaning |", "|---|---|---|"]
        lines += [f"| `{entry.variable}` | {_default(entry)} | {entry.meaning.replace('|', '&#124;')} |" for entry in entries]
        lines.append("")
    return "\n".join(lines)


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
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    yield readme, f"{before}{BEGIN}\n\n{markdown()}\n{END}{after}"
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
