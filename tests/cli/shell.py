"""`neuroroute ...` as people run it: a process, its output, its exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Shell:
    """Runs `neuroroute ...` in an empty folder with these variables and nothing of ours."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        self.environment = {**kept, "PYTHONPATH": str(ROOT), "NEUROROUTE_DATA_DIR": str(folder / "data"), **variables}

    def run(self, *arguments: str, status: int = 0, given: str | None = None) -> str:
        """What it printed. given: its standard input. Asserts the exit status, and that no traceback was shown."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "neuroroute", *arguments],
            cwd=self.folder, env=self.environment, input=given, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stdout + done.stderr

    def json(self, *arguments: str, status: int = 0, given: str | None = None):
        return json.loads(self.run(*arguments, "--json", status=status, given=given))
