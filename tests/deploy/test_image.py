"""The Dockerfile: linted everywhere; where there are root and buildah, built step by step, and run with a read-only root as a plain user."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuroroute.core import jsonbytes
from tests.deploy import image
from tests.deploy.image import ROOT, UID, Container

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
WRITES = """
import os, tempfile
found = []
for folder, folders, _ in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/dev", "/sys")]
    try:
        with tempfile.TemporaryFile(dir=folder):
            found.append(folder)
    except OSError:
        pass
print(",".join(sorted(found)))
"""


@pytest.mark.skipif(HADOLINT is None, reason="no wheel of hadolint for this platform")
def test_it_passes_the_linter():
    assert HADOLINT
    done = subprocess.run([HADOLINT, "--failure-threshold", "style", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_it_copies_is_in_the_context():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line]
    copied = {name.removeprefix("./") for names in lines for name in names}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_every_install_is_pinned_by_hashes():
    installs = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if "pip" in line and " install" in line and "RUN" in line]
    assert len(installs) == 4
    assert all("--require-hashes" in line or "--no-deps --no-index" in line for line in installs)
    assert "--root-user" not in DOCKERFILE and DOCKERFILE.count("\nUSER ") == 1


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def get(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def until_ready(url: str, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if get(f"{url}/health/ready")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    process.kill()
    raise AssertionError(f"it did not become ready:\n{process.communicate()[0][-3000:]}")


@pytest.fixture(scope="module", params=["embedded", "gateway"])
def container(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    if reason := image.missing():
        pytest.skip(reason)
    data = tmp_path_factory.mktemp("data")
    for folder in (data, *data.parents):
        if folder != Path("/tmp") and folder.is_relative_to("/tmp") and folder.stat().st_uid == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    os.chown(data, UID, UID)
    data.chmod(0o700)
    with Container(image.build(request.param), data) as built:
        yield built


def test_the_image_says_what_it_is(container: Container):
    labels = container.config["Labels"]
    assert labels["org.opencontainers.image.version"] == "9.9.9" and labels["org.opencontainers.image.revision"] == "abc"
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert container.config["User"] == f"{UID}:{UID}"
    assert container.config["Entrypoint"] == ["neuroroute"] and container.config["Cmd"] == ["serve"]
    assert container.config["Healthcheck"]["Test"][0] == "CMD" and list(container.config["Volumes"]) == ["/data"]


def _normal(name: str) -> str:
    """A project's name as all its spellings are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_its_bill_of_materials_is_good_and_complete(container: Container):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (container.root / container.config["Labels"]["dev.neuroroute.sbom"].lstrip("/")).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = jsonbytes.loads(text.encode())
    assert bom["metadata"]["component"]["name"] == "neuroroute"
    named = {_normal(component["name"]) for component in bom["components"]}
    folders = next((container.root / "opt/neuroroute/lib").glob("python3.*/site-packages")).glob("*.dist-info")
    installed = {_normal(folder.name.split("-")[0]) for folder in folders} - {"neuroroute"}
    assert len(installed) > 30 and installed <= named
    assert {"aiohttp", "libc6", "cpython"} <= named


def test_it_holds_no_pip_and_no_source(container: Container):
    assert not list((container.root / "opt").glob("tools")) and not (container.root / "src").exists()
    assert not list((container.root / "opt/neuroroute/bin").glob("pip*"))


def test_it_may_write_to_data_and_tmp_alone(container: Container):
    done = container.run("python", "-c", WRITES)
    assert done.stdout.strip() == "/data,/tmp", done.stdout


def call(url: str) -> dict[str, Any]:
    body = b'{"model": "auto", "messages": [{"role": "user", "content": "Say hello"}]}'
    headers = {"Authorization": "Bearer nr_admin_of_this_test", "Content-Type": "application/json"}
    status, answer = get(f"{url}/v1/chat/completions", body, **headers)
    assert status == 200, answer
    found: dict[str, Any] = jsonbytes.loads(answer)
    return found


def test_it_serves_as_a_plain_user_on_a_read_only_root(container: Container, request: pytest.FixtureRequest):
    """The embedded image on its own database; the other one on the database of an embedded one, by its socket."""
    health = container.config["Healthcheck"]["Test"][1:]
    command = [*container.config["Entrypoint"], *container.config["Cmd"]]
    port = free_port()
    common = {"HOST": "127.0.0.1", "NEUROROUTE_ADMIN_KEY": "nr_admin_of_this_test", "NEUROROUTE_DEMO": "true"}
    with contextlib.ExitStack() as stack:
        variables = common | {"PORT": str(port)}
        if "embedded" not in request.node.name:
            other = stack.enter_context(Container(image.build("embedded"), container.data))
            other_port = free_port()
            owner = other.start(*command, **common, PORT=str(other_port), NEUROROUTE_DATA_DIR="/data/owner")
            stack.callback(end, owner)
            until_ready(f"http://127.0.0.1:{other_port}", owner)
            (socket_file,) = (container.data / "owner").rglob(".s.PGSQL.5432")
            folder = "/data" / socket_file.parent.relative_to(container.data)
            variables["DATABASE_URL"] = f"postgresql://neuroroute@/postgres?host={folder}&port=5432"
        process = container.start(*command, **variables)
        stack.callback(end, process)
        until_ready(f"http://127.0.0.1:{port}", process)
        owners = [line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith(("Uid", "CapEff"))]
        assert owners[0].split()[1:] == [str(UID)] * 4 and int(owners[1].split()[1], 16) == 0
        assert call(f"http://127.0.0.1:{port}")["choices"][0]["message"]["content"]
        assert container.run(*health, PORT=str(port)).returncode == 0
        out = end(process)
        assert process.returncode == 0, out[-2000:]
        assert container.run(*health, PORT=str(port)).returncode != 0


def end(process: "subprocess.Popen[str]") -> str:
    """SIGTERM, as container engines do, and what it wrote."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.communicate(timeout=40)[0] or ""
    except ValueError:  # ended and read before
        return ""
