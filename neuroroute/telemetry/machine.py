"""
How full and how busy the machine is: what Linux says of it, or of the container that we are in, whichever is nearer to its bound.

Where the system says nothing (other platforms) there is no figure. Source: proc(5), cgroup v2 documentation of the kernel, 2026-11.
"""

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Busy(NamedTuple):
    """Seconds of CPU used since some moment, and how many there were to be used: of the machine, and of the container; (0, 0) = not known."""

    machine: tuple[float, float] = (0.0, 0.0)
    container: tuple[float, float] = (0.0, 0.0)

    def percent_since(self, before: "Busy") -> float | None:
        """How busy it was from `before` on; None where nothing is known."""
        shares = [
            100.0 * (now[0] - then[0]) / (now[1] - then[1])
            for now, then in ((self.machine, before.machine), (self.container, before.container))
            if now[1] > then[1] > 0.0
        ]
        return min(max(max(shares), 0.0), 100.0) if shares else None


class Machine:
    """root: where proc and sys are. Every method reads a few small files: call it in a thread."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc, self._group = root / "proc", root / "sys" / "fs" / "cgroup"

    def memory_percent(self) -> float | None:
        """Memory in use, what the kernel can take back not counted."""
        shares = [share for share in (self._machine_memory(), self._container_memory()) if share is not None]
        return max(shares) if shares else None

    def _machine_memory(self) -> float | None:
        said = {}
        for line in _text(self._proc / "meminfo").splitlines():
            name, _, value = line.partition(":")
            said[name] = _number(value.split(" kB")[0])
        total, free = said.get("MemTotal"), said.get("MemAvailable")
        return 100.0 * (total - free) / total if total and free is not None else None

    def _container_memory(self) -> float | None:
        most, used = _number(_text(self._group / "memory.max")), _number(_text(self._group / "memory.current"))
        if not most or used is None:
            return None
        files = next(
            (_number(line[14:]) for line in _text(self._group / "memory.stat").splitlines() if line.startswith("inactive_file ")), 0
        )
        return 100.0 * max(used - (files or 0.0), 0.0) / most

    def busy(self, now_s: float) -> Busy:
        """now_s: monotonic."""
        return Busy(self._machine_busy(), self._container_busy(now_s))

    def _machine_busy(self) -> tuple[float, float]:
        first = _text(self._proc / "stat").partition("\n")[0].split()
        if len(first) < 6 or first[0] != "cpu":
            return 0.0, 0.0
        spent = [float(ticks) / _TICKS_PER_S for ticks in first[1:9]]  # user nice system idle iowait irq softirq steal
        return sum(spent) - spent[3] - spent[4], sum(spent)

    def _container_busy(self, now_s: float) -> tuple[float, float]:
        quota = _text(self._group / "cpu.max").split()
        used = next((_number(line[11:]) for line in _text(self._group / "cpu.stat").splitlines() if line.startswith("usage_usec ")), None)
        if used is None or len(quota) != 2 or not quota[0].isdigit() or not quota[1].isdigit() or not int(quota[1]):
            return 0.0, 0.0
        return used / 1e6, now_s * int(quota[0]) / int(quota[1])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if text.isdigit() else None
