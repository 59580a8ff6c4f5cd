"""
Builds the Dockerfile without a Docker engine, and runs the image as a container would.

buildah runs every step. The base image can not be pulled here, so one of the same distribution and Python is bootstrapped from Debian's
packages and stands in under its name.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
PLACE = Path("/var/tmp/neuroroute-image-check")
BASE = "docker.io/library/python:3.13-slim-trixie"
CERTIFICATES = "/etc/ssl/certs"
UID = 10001

START = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
mount --bind "$2" "$1/data"
root=$1
shift 2
exec chroot --userspec=10001:10001 "$root" /usr/bin/env -i "$@"
"""
"""Arguments: the image's root, the folder for /data, then variables and the command."""


def missing() -> str | None:
    """Why the Dockerfile can not be built here; None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "building the image needs root on Linux"
    absent = [tool for tool in ("buildah", "debootstrap", "unshare", "chroot") if shutil.which(tool) is None]
    if absent:
        return f"building the image needs {' and '.join(absent)}"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "building the image needs the right to make mount namespaces"
    return None


def buildah(*arguments: str, timeout_s: float = 900) -> str:
    done = subprocess.run(
        ["buildah", "--root", str(PLACE / "store"), "--runroot", str(PLACE / "run"), *arguments],
        capture_output=True, text=True, check=False, timeout=timeout_s, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, f"buildah {arguments[0]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip()


def index_settings() -> str:
    """How pip reaches its index on this machine, for the pip of the build."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    kept = {"cert", "proxy", "timeout", "index-url", "trusted-host"}
    found = dict(line.split("=", 1) for line in listed.splitlines() if "=" in line)
    lines = {name.rpartition(".")[2]: value.strip("'\"") for name, value in found.items()}
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items() if name in kept)


def stand_in_base() -> None:
    if BASE in buildah("images", "--format", "{{.Name}}:{{.Tag}}"):
        return
    with tempfile.TemporaryDirectory(dir=PLACE) as folder:
        root = Path(folder) / "root"
        subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "trixie", str(root)],
            check=True, capture_output=True, timeout=600,
        )  # fmt: skip
        (root / "usr/bin/python").symlink_to("python3")
        shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
        shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
        (Path(folder) / "Dockerfile").write_text("FROM scratch\nCOPY . /\nENV PATH=/usr/local/bin:/usr/bin:/bin\n")
        buildah("build", "--quiet", "--file", f"{folder}/Dockerfile", "--tag", BASE, str(root))


def build(target: str) -> str:
    """The image's name, built by running every step of the Dockerfile; one build at a time on this machine, steps are cached."""
    PLACE.mkdir(parents=True, exist_ok=True)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stand_in_base()
        settings = PLACE / "pip.conf"
        settings.write_text(index_settings())
        mounts = ["--volume", f"{settings}:/etc/pip.conf:ro"]
        if Path(CERTIFICATES).is_dir():
            mounts += ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
        buildah(
            "build", "--format", "docker", "--pull-never", "--layers", "--isolation", "chroot", *mounts,
            "--build-arg", "VERSION=9.9.9", "--build-arg", "REVISION=abc", "--target", target, "--tag", f"neuroroute-{target}", ".",
        )  # fmt: skip
    return f"neuroroute-{target}"


def config(name: str) -> dict[str, Any]:
    """What the image says of itself: Env, User, Labels, Healthcheck, ..."""
    found: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", name))["Docker"]["config"]
    return found


class Container:
    """`with Container(image, data) as container`: a mounted root; `start` runs a command in it as a container engine would."""

    def __init__(self, name: str, data: Path) -> None:
        self.config = config(name)
        self._name, self.data = name, data

    def __enter__(self) -> Self:
        self._id = buildah("from", "--pull-never", self._name)
        self.root = Path(buildah("mount", self._id))
        return self

    def __exit__(self, *_: object) -> None:
        buildah("umount", self._id)
        buildah("rm", self._id)

    def start(self, *command: str, **variables: str) -> "subprocess.Popen[str]":
        named = [*self.config["Env"], *(f"{name}={value}" for name, value in variables.items())]
        return subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", START, "start", str(self.root), str(self.data), *named, *command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*command, **variables)
        out, _ = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out)
