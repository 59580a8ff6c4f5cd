"""The greeting: where the gateway is, where the key is, a line to try it with."""

import sys
from pathlib import Path
from typing import Final, TextIO

from neuroroute import __version__
from neuroroute.core.dataclass import dataclass
from neuroroute.core.settings import Settings

ADMIN_KEY_FILE: Final = "admin.key"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is served. `providers`: their names; `models`: how many, the `auto` names left out."""

    providers: tuple[str, ...]
    models: int


def base_url(settings: Settings, port: int) -> str:
    """Where clients reach us: API_URL if it is set, else this machine and the port that is really in use."""
    if "api_url" in settings.model_fields_set:
        return settings.api_url
    host = settings.host if settings.host not in ("0.0.0.0", "::", "") else "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Banner:
    """Told once, when calls are served. Made before the start, to know whether the admin key is new."""

    def __init__(self, settings: Settings, data_dir: Path, port: int, out: TextIO = sys.stdout) -> None:
        self._settings, self._port, self._out = settings, port, out
        self._file = data_dir / ADMIN_KEY_FILE
        self._had_key = self._file.exists()
        self._shown = False

    def show(self, facts: Facts) -> None:
        if self._shown:
            return
        self._shown = True
        url = base_url(self._settings, self._port)
        key, in_shell = self._key()
        rows = [
            ("API", f"{url}/v1"),
            ("Key", key),
            ("Dashboard", f"{url}/dashboard"),
            ("Providers", f"{', '.join(facts.providers) or 'none'} ({facts.models} models)"),
        ]
        body = '{"model": "auto", "messages": [{"role": "user", "content": "Say hello"}]}'
        curl = f"curl -s {url}/v1/chat/completions -H \"Authorization: Bearer {in_shell}\" -H 'Content-Type: application/json' -d '{body}'"
        lines = [f"NeuroRoute {__version__} is ready", *(f"  {name + ':':11}{text}" for name, text in rows), "  Try:", f"  {curl}"]
        self._out.write("\n" + "\n".join(lines) + "\n\n")
        self._out.flush()

    def _key(self) -> tuple[str, str]:
        """The key as it is told, and as a shell finds it."""
        if not self._file.exists():
            return "one of yours (neuroroute keys create makes one)", "YOUR_KEY"
        in_shell = f"$(cat '{self._file}')"
        if self._had_key or self._settings.neuroroute_admin_key:
            return f"in {self._file}", in_shell
        return f"{self._file.read_text().strip()}\n             (shown this once; kept in {self._file})", in_shell
