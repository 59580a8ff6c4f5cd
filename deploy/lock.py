"""
Pins what the image installs, with hashes: deploy/locks/*.lock out of pyproject.toml.

    make lock       write them anew, with the newest versions that are allowed (needs uv, and an index to ask)

* `gateway.lock`    the gateway and its extra `otel`
* `embedded.lock`   what the extra `embedded` needs beyond that
* `build.lock`      what builds the wheel

Each begins with a digest of the requirements that it was made from; a test tells when they have changed since.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = Path(__file__).resolve().parent / "locks"
PYTHON = "3.11"  # the oldest that the image may be built on
PIN = re.compile(r"^[A-Za-z0-9][^\n\\]*(?:\\\n +--hash=[^\n\\]*)+", re.MULTILINE)


def requirements(lock: str) -> list[str]:
    """What pyproject.toml asks for, of the things that this lock pins."""
    chosen = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = chosen["project"]["optional-dependencies"]
    asked = {
        "gateway": chosen["project"]["dependencies"] + extras["otel"],
        "embedded": chosen["project"]["dependencies"] + extras["otel"] + extras["embedded"],
        "build": chosen["build-system"]["requires"],
    }
    return sorted(asked[lock])


def digest(lock: str) -> str:
    return hashlib.sha256(json.dumps(requirements(lock)).encode()).hexdigest()


def pins(text: str) -> dict[str, str]:
    """Package -> its block: the version and all its hashes."""
    return {re.split(r"[=\s]", block, maxsplit=1)[0]: block.rstrip() for block in PIN.findall(text)}


def resolve(lock: str, beside: Path | None = None) -> str:
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", PYTHON, "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--upgrade", *(("--constraints", str(beside)) if beside else ())]
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.in"
        wanted.write_text("\n".join(requirements(lock)), encoding="utf-8")
        return subprocess.run([*command, str(wanted)], check=True, capture_output=True, text=True).stdout


def write(lock: str, found: dict[str, str]) -> None:
    head = f"# Made by `make lock` out of pyproject.toml; do not edit.\n# requirements: sha256 {digest(lock)}\n"
    (LOCKS / f"{lock}.lock").write_text(head + "\n".join(found.values()) + "\n", encoding="utf-8")
    print(f"{lock}.lock: {len(found)} packages")


def main() -> int:
    LOCKS.mkdir(exist_ok=True)
    gateway = pins(resolve("gateway"))
    write("gateway", gateway)
    embedded = pins(resolve("embedded", LOCKS / "gateway.lock"))
    write("embedded", {name: block for name, block in embedded.items() if name not in gateway})
    write("build", pins(resolve("build")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
