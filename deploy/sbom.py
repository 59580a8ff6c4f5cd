"""
Writes the software bill of materials of an environment: CycloneDX 1.6, as JSON, on standard output.

    /opt/neuroroute/bin/python deploy/sbom.py >sbom.cdx.json

It names every Python package of the interpreter that runs it, and every Debian package where there is dpkg. Needs nothing but the standard
library. Equal environments give equal files: there is no time and no serial number in it.
"""

import json
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distributions

SUBJECT = "neuroroute"


def licences(found: Distribution) -> list[dict[str, object]]:
    """The licence as the package's metadata say it: an SPDX expression, or else its name in words."""
    expression = found.metadata.get("License-Expression")
    if expression:
        return [{"expression": expression}]
    named = [value.rpartition(" :: ")[2] for value in found.metadata.get_all("Classifier", []) if value.startswith("License :: ")]
    named = named or [line for line in (found.metadata.get("License") or "").splitlines() if line.strip() and len(line) < 80][:1]
    return [{"license": {"name": name.strip()}} for name in sorted(set(named))]


def python_packages() -> dict[str, Distribution]:
    return {re.sub(r"[-_.]+", "-", found.name).lower(): found for found in distributions()}


def of_python(name: str, found: Distribution) -> dict[str, object]:
    purl = f"pkg:pypi/{name}@{found.version}"
    component: dict[str, object] = {"type": "library", "bom-ref": purl, "name": found.name, "version": found.version, "purl": purl}
    if found.metadata.get("Summary"):
        component["description"] = found.metadata["Summary"].strip()
    if named := licences(found):
        component["licenses"] = named
    return component


def needs(found: Distribution, known: dict[str, Distribution]) -> list[str]:
    """What a package depends on, of what is installed; extras that were not asked for name nothing that is there by chance."""
    names = {re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", wanted, maxsplit=1)[0]).lower() for wanted in found.requires or []}
    return sorted(f"pkg:pypi/{name}@{known[name].version}" for name in names if name in known)


def debian_packages() -> list[dict[str, object]]:
    if shutil.which("dpkg-query") is None:
        return []
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${Architecture}\n"], capture_output=True, text=True, check=True
    ).stdout
    components: list[dict[str, object]] = []
    for line in sorted(listed.splitlines()):
        name, version, architecture = line.split(" ")
        purl = f"pkg:deb/debian/{name}@{version.replace(':', '%3A').replace('+', '%2B')}?arch={architecture}"
        components.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return components


def document() -> dict[str, object]:
    packages = python_packages()
    ours = of_python(SUBJECT, packages[SUBJECT]) | {"type": "application"}
    runtime = f"pkg:generic/cpython@{platform.python_version()}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": ours},
        "components": [
            {"type": "platform", "bom-ref": runtime, "name": "CPython", "version": platform.python_version(), "purl": runtime},
            *(of_python(name, found) for name, found in sorted(packages.items()) if name != SUBJECT),
            *debian_packages(),
        ],
        "dependencies": [
            {"ref": f"pkg:pypi/{name}@{found.version}", "dependsOn": needs(found, packages)} for name, found in sorted(packages.items())
        ],
    }


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=1)
    print()
