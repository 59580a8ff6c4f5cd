"""
Logs: pretty lines in a terminal, JSON lines elsewhere; never a key, never a prompt.

Levels are error, warn, info, debug and trace. A JSON line has `level`, `time`, `pid`, `name`, `msg`, the fields given as `extra={...}` and, after
a failure, `error` (its type) and `stack`. Whatever looks like a credential is masked in the finished line, whoever logged it; fields that are
named like credentials or like the text of a call are masked whole.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TextIO

from neuroroute.core import jsonbytes

TRACE: Final = 5
LEVELS: Final[Mapping[str, int]] = {
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
_NAMES: Final = {number: name for name, number in LEVELS.items()} | {logging.CRITICAL: "error"}
_COLOURS: Final = {"error": "\x1b[31m", "warn": "\x1b[33m", "info": "\x1b[32m", "debug": "\x1b[36m", "trace": "\x1b[90m"}
_MASK: Final = "***"

_CREDENTIAL: Final = re.compile(
    r"""
      \b(nr_|sk-|pk-|gsk_|xai-|AIza)[A-Za-z0-9_-]{6,}                      # keys of ours and of providers
    | (?i:\b(bearer|basic)[ ]+)[A-Za-z0-9._~+/=-]{4,}                         # an Authorization header
    | (?i:\b((?:x-api-key|api[-_]key|authorization|password|cookie)\\?["']?\s*[:=]\s*\\?["']?)(?:(?:bearer|basic)\s+)?)(?!\*)[^\s"',;}\\]+
    | (://[^\s:/@]*:)[^\s/@]+(?=@)                                            # the password of a URL
    """,
    re.VERBOSE,
)
_SECRET_FIELDS: Final = frozenset(
    {"key", "api_key", "token", "secret", "password", "authorization", "cookie", "headers"}
    | {"prompt", "prompts", "messages", "content", "body", "input", "text", "completion"}
)
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def mask(text: str) -> str:
    """`text` without whatever looks like a credential; the beginning that tells its kind stays."""
    return _CREDENTIAL.sub(_masked, text)


def _masked(match: re.Match[str]) -> str:
    return next((group for group in match.groups() if group), "") + _MASK


def setup(level: str = "info", *, pretty: bool | None = None, stream: TextIO | None = None) -> None:
    """
    Send all logs of this process to `stream` (standard error if None), from `level` on.

    pretty: None = whether the stream is a terminal.
    """
    out = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(out)
    nice = out.isatty() if pretty is None else pretty
    handler.setFormatter(_Pretty(colour=out.isatty() and "NO_COLOR" not in _environment()) if nice else _Lines())
    handler.addFilter(_no_bad_request_traces)
    logging.addLevelName(TRACE, "TRACE")
    logging.raiseExceptions = False
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(LEVELS[level], logging.INFO))
    logging.getLogger("neuroroute").setLevel(LEVELS[level])
    for chatty in ("asyncio", "aiohttp"):
        logging.getLogger(chatty).setLevel(max(LEVELS[level], logging.WARNING))


def _environment() -> Mapping[str, str]:
    return os.environ  # noqa: TID251 - NO_COLOR is a convention of terminals, not a setting


def _no_bad_request_traces(record: logging.LogRecord) -> bool:
    """aiohttp logs what it can not parse with its bytes, credentials included, and a traceback: not with us."""
    error = record.exc_info[1] if record.name == "aiohttp.server" and isinstance(record.exc_info, tuple) else None
    return not type(error).__module__.startswith(("aiohttp.http", "aiohttp.web_protocol"))


class _Lines(logging.Formatter):
    """One JSON object on one line for each record."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "level": _level(record),
            "time": datetime.fromtimestamp(record.created, UTC),
            "pid": record.process,
            "name": record.name,
            "msg": record.getMessage(),
        }
        fields |= {name: _plain(value) for name, value in _extra(record).items() if name not in fields}
        if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
            fields |= {"error": record.exc_info[0].__name__, "stack": self.formatException(record.exc_info)}
        return mask(jsonbytes.dumps(fields).decode())


class _Pretty(logging.Formatter):
    """`12:03:44.123 INFO  tasks: message  key=value`, in colour if asked."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        level = _level(record)
        word = f"{level.upper():5}"
        if self._colour:
            word = f"{_COLOURS[level]}{word}\x1b[0m"
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        extra = "".join(f"  {name}={_plain(value)}" for name, value in _extra(record).items())
        line = f"{moment} {word} {record.name.removeprefix('neuroroute.')}: {record.getMessage()}{extra}"
        if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
            line += "\n" + self.formatException(record.exc_info)
        return mask(line)


def _level(record: logging.LogRecord) -> str:
    return _NAMES.get(record.levelno) or ("trace" if record.levelno < logging.DEBUG else "info")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: _MASK if name in _SECRET_FIELDS else value for name, value in vars(record).items() if name not in _STANDARD}


def _plain(value: object) -> object:
    return value if isinstance(value, (str, int, float, bool, type(None), list, tuple, dict)) else str(value)
