"""
The command line: `neuroroute <verb>`. Each verb imports what it needs when it runs, so that `serve` starts without the rest; where it is told
plainly, even without the library of the command line (`line`), whose import is a twentieth of its start.

Verbs that print data take `--json`. Faults of the operator (settings, configuration, database) are told in plain lines, exit status 2.
"""

import sys
from collections.abc import Sequence
from typing import Final

from neuroroute.cli.out import faults, served

SERVES: Final = {
    "--host": "host",
    "--port": "port",
    "--workers": "workers",
    "--config": "neuroroute_config",
    "--data-dir": "neuroroute_data_dir",
}
"""The options of `serve`, and the settings that they stand for."""


def main() -> int:
    """Run the command line. Returns the exit status."""
    try:
        if (told := plainly(sys.argv[1:])) is not None:
            return served(**told)
        from neuroroute.cli.line import command_line

        command_line(sys.argv[1] if len(sys.argv) > 1 else None)(prog_name="neuroroute")
    except faults() as error:
        print(f"neuroroute: {error}" if "\n" not in str(error) else f"neuroroute:\n{error}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def plainly(words: Sequence[str]) -> dict[str, str] | None:
    """What `serve` is told, in pairs of an option and its value; None where the words are others, or may be mistaken ones."""
    options, values = words[1::2], words[2::2]
    if words[:1] != ["serve"] or len(options) != len(values) or not SERVES.keys() >= set(options):
        return None
    told = {SERVES[option]: value for option, value in zip(options, values, strict=True)}
    numbers = [told[name] for name in ("port", "workers") if name in told]
    return told if all(value and value[0] != "-" for value in values) and all(map(str.isdecimal, numbers)) else None
