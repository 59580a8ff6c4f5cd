"""
`neuroroute launch`: a coding tool against this gateway, by environment and arguments alone. No file of the tool is read or changed.

Each function of TOOLS says what one tool needs. Source: the tools' documentation on gateways and custom providers, and runs of
Claude Code 2.1, Codex 0.169 and opencode 1.18, 2026-11.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from neuroroute.cli.out import Fault, load
from neuroroute.core import jsonbytes
from neuroroute.core.dataclass import dataclass
from neuroroute.core.settings import MASK, Settings, child_environment

KEY_VARIABLE: Final = "NEUROROUTE_API_KEY"
ASK_S: Final = 5.0
MODEL: Final = "auto"
SMALL_MODEL: Final = "auto:cheap"
"""For what the tools do on the side (titles, summaries), where nobody chose a model."""


class Away(Fault):
    """No gateway answers."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """url: without /v1. listed: the models that the key may use; windows: (context, output) tokens of those that are known."""

    url: str
    key: str
    listed: tuple[str, ...] = ()
    windows: Mapping[str, tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """How a tool is started. without: variables that would lead it past the gateway."""

    arguments: tuple[str, ...]
    variables: Mapping[str, str]
    without: tuple[str, ...] = ()


def claude(gateway: Gateway, model: str, small: str) -> Start:
    """Claude Code: all of its model tiers are named, since it asks for a small one by itself."""
    tiers = {f"ANTHROPIC_DEFAULT_{tier}_MODEL": model for tier in ("OPUS", "SONNET")}
    own = {"ANTHROPIC_BASE_URL": gateway.url, "ANTHROPIC_AUTH_TOKEN": gateway.key, "ANTHROPIC_MODEL": model}
    others = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
    return Start((), {**own, **tiers, "ANTHROPIC_DEFAULT_HAIKU_MODEL": small}, others)


def codex(gateway: Gateway, model: str, small: str) -> Start:
    """
    Codex: a provider of its own by `-c`, since it takes no other address for the built-in one; the key stays out of the arguments.

    What only OpenAI's models are served with is off, since any model may answer; a later `-c` of the person's own wins.
    """
    provider = {"name": "NeuroRoute", "base_url": f"{gateway.url}/v1", "env_key": KEY_VARIABLE, "wire_api": "responses"}
    overrides = {
        "model": _toml(model),
        "model_provider": _toml("neuroroute"),
        "web_search": _toml("disabled"),
        "features.multi_agent": "false",
        "model_providers.neuroroute": "{" + ", ".join(f"{name} = {_toml(value)}" for name, value in provider.items()) + "}",
    }
    arguments = [part for name, value in overrides.items() for part in ("-c", f"{name}={value}")]
    return Start(tuple(arguments), {KEY_VARIABLE: gateway.key})


def opencode(gateway: Gateway, model: str, small: str) -> Start:
    """opencode: a whole configuration in one variable, merged over the person's own."""
    models: dict[str, Any] = {name: {} for name in dict.fromkeys((model, small, *gateway.listed))}
    for name, (context, output) in (gateway.windows or {}).items():
        if name in models:
            models[name] = {"limit": {"context": context, "output": output}}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "NeuroRoute",
        "options": {"baseURL": f"{gateway.url}/v1", "apiKey": gateway.key},
        "models": models,
    }
    content = {"model": f"neuroroute/{model}", "small_model": f"neuroroute/{small}", "provider": {"neuroroute": provider}}
    return Start((), {"OPENCODE_CONFIG_CONTENT": jsonbytes.dumps(content).decode()})


TOOLS: Final[Mapping[str, Callable[[Gateway, str, str], Start]]] = {"claude": claude, "codex": codex, "opencode": opencode}


def _toml(text: str) -> str:
    """A TOML string; JSON's is one too."""
    return jsonbytes.dumps(text).decode()


def launch(
    tool: Annotated[str, typer.Argument(help="claude, codex or opencode.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Passed on to the tool; after -- whatever they are.")] = None,
    model: Annotated[str | None, typer.Option(help="The model that it asks for; default: auto.")] = None,
    key: Annotated[str | None, typer.Option(help="API key [NEUROROUTE_API_KEY]; default: admin.key of the data folder.")] = None,
    url: Annotated[str | None, typer.Option(help="Address of the gateway [API_URL].")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where admin.key is [NEUROROUTE_DATA_DIR].")] = None,
    show: Annotated[bool, typer.Option("--print", help="Only show how it would be started; the key is masked.")] = False,
) -> None:
    """Start Claude Code, Codex or opencode against this gateway. Changes no file of theirs."""
    if tool not in TOOLS:
        raise Fault(f"{tool} is not known here; known are {', '.join(TOOLS)}.")
    settings = load(neuroroute_data_dir=data_dir)
    environment = child_environment()
    gateway = Gateway(_address(settings, url), key or environment.get(KEY_VARIABLE) or _kept_key(settings))
    program = shutil.which(tool)
    if program is None and not show:
        raise Fault(f"{tool} is not on PATH: install it first, or say where it is by PATH.")
    try:
        gateway = _asked(gateway, model)
    except Away:
        if not show:
            raise
    if model is None and gateway.listed and MODEL not in gateway.listed:
        raise Fault(f"This key may not use {MODEL}: choose with --model, one of {', '.join(gateway.listed)}.")
    small = SMALL_MODEL if model is None and SMALL_MODEL in gateway.listed else model or MODEL
    start = TOOLS[tool](gateway, model or MODEL, small)
    command = [program or tool, *start.arguments, *(arguments or ())]
    if show:
        _show(start, [tool, *command[1:]], gateway.key)
        return
    sys.stdout.flush()
    kept = {name: value for name, value in environment.items() if name not in start.without}
    os.execve(command[0], command, {**kept, **start.variables})


def _address(settings: Settings, given: str | None) -> str:
    from neuroroute.serve.banner import base_url

    if given is not None and not given.startswith(("http://", "https://")):
        raise Fault(f"--url {given}: a URL that begins with http:// or https:// is expected.")
    return (given or base_url(settings, settings.port)).rstrip("/").removesuffix("/v1")


def _kept_key(settings: Settings) -> str:
    from neuroroute.serve.banner import ADMIN_KEY_FILE

    file = settings.neuroroute_data_dir.expanduser().absolute() / ADMIN_KEY_FILE
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Fault(f"No key: give --key or {KEY_VARIABLE}. ({file} can not be read: {error.strerror})") from error


def _asked(gateway: Gateway, model: str | None) -> Gateway:
    """The gateway with its models. Raises Away where it does not answer, Fault where it has no such model or does not take the key."""
    names, models = _get(gateway, "/v1/models")["data"], _get(gateway, "/models")["data"]
    sizes = {row["id"]: (row["context_window_tokens"], row["max_output_tokens"]) for row in models}
    others = {row["id"] for row in models if row["kind"] != "chat"}
    listed = tuple(row["id"] for row in names if row["id"] not in others)
    if model is not None and model not in listed:
        _get(gateway, f"/v1/models/{quote(model, safe='/:')}")  # a name may be good without being listed, such as provider/model
    return Gateway(gateway.url, gateway.key, listed, {name: size for name, size in sizes.items() if all(size)})


def _get(gateway: Gateway, path: str) -> Any:
    import urllib.request  # with TLS it costs what the start of `serve` has not to spare
    from http.client import HTTPException
    from urllib.error import HTTPError

    request = urllib.request.Request(gateway.url + path, headers={"Authorization": f"Bearer {gateway.key}"})
    try:
        with urllib.request.urlopen(request, timeout=ASK_S) as answer:
            return jsonbytes.loads(answer.read())
    except HTTPError as refused:
        with refused:
            said = _message(refused.read())
        if refused.code == 401:
            raise Fault(f"The gateway at {gateway.url} does not take this key: give another with --key or {KEY_VARIABLE}.") from refused
        raise Fault(said or f"{gateway.url}{path} answered {refused.code}: is this the address of a gateway?") from refused
    except ValueError as odd:
        raise Fault(f"{gateway.url} is no gateway: it answered something else.") from odd
    except (OSError, HTTPException) as away:
        reason = getattr(away, "reason", away)
        text = f"No gateway answers at {gateway.url} ({reason}): start one with neuroroute serve, or give its address with --url."
        raise Away(text) from away


def _message(body: bytes) -> str:
    """What our own errors say; empty for another's."""
    try:
        return str(jsonbytes.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def _show(start: Start, command: Sequence[str], key: str) -> None:
    """As a shell would take it."""
    lines = [f"unset {name}" for name in start.without]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in start.variables.items()]
    print("\n".join([*lines, shlex.join(command)]).replace(key, f"nr_{MASK}"))
