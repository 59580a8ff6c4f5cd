"""`neuroroute route`: what the router would do with a prompt, without a server, a database or the network."""

import codecs
import gc
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from neuroroute.cli.out import Fault, load, show
from neuroroute.core import jsonbytes

if TYPE_CHECKING:
    from neuroroute.cli.offline import Offline
    from neuroroute.routing.decision import Decision
    from neuroroute.routing.facts import KnownModels

SHOWN_CHARS: Final = 80
CANDIDATES: Final = ("model", "quality", "cost_usd", "latency_ms", "score", "verdict", "to_win")
_HALF_PAIR: Final = re.compile(rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|[c-fC-F]..(?<!\\u[dD][89abAB]..\\u[dD]...))", re.DOTALL)
"""Escapes of one half of a pair of surrogates without its other half, as texts have them that were cut at so many units."""
ROWS: Final = ("line", "label", "difficulty", "model", "result")


def route(
    prompt: Annotated[str | None, typer.Argument(help="What somebody would ask; - reads it from standard input.")] = None,
    policy: Annotated[str | None, typer.Option(help="cheap, balanced, best, fast, one of yours, or a number 0..10.")] = None,
    model: Annotated[str, typer.Option(help="The name that a client would send.")] = "auto",
    explain: Annotated[bool, typer.Option("--explain", help="With every candidate, and what would have to change for it to win.")] = False,
    file: Annotated[Path | None, typer.Option(help="JSON lines {prompt, ...}; a decision for each.")] = None,
    expect: Annotated[bool, typer.Option("--expect", help="Check the expectations of the file's lines; exit status 1 on a miss.")] = False,
    batch: Annotated[
        bool, typer.Option("--batch", help="JSON lines {id, prompt, candidates?} on standard input; readings on standard output.")
    ] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Configuration file [NEUROROUTE_CONFIG].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which model would answer, and why. Asks no server: live health and latency do not count here."""
    if [prompt is not None, file is not None, batch].count(True) != 1:
        raise Fault("One of a prompt, --file or --batch is expected.")
    if expect and file is None:
        raise Fault("--expect needs --file.")
    if batch:
        _batch(sys.stdin.buffer, sys.stdout.buffer)
        return
    from neuroroute.cli.offline import Offline

    offline = Offline(load(neuroroute_config=config))
    asked: dict[str, Any] = {"model": model, **({"neuroroute": {"policy": policy}} if policy else {})}
    if file is not None:
        raise typer.Exit(_file(offline, file, asked, expect=expect, as_json=json))
    assert prompt is not None
    text = sys.stdin.read() if prompt == "-" else prompt
    _one(offline, {**asked, "messages": [{"role": "user", "content": text}]}, explain=explain, as_json=json)


def _decide(offline: "Offline", body: dict[str, Any]) -> "Decision":
    from neuroroute.core.errors import NeuroRouteError

    try:
        return offline.decide(body)
    except NeuroRouteError as refused:
        raise Fault(refused.message) from refused


def _one(offline: "Offline", body: dict[str, Any], *, explain: bool, as_json: bool) -> None:
    from neuroroute.routing.explain import explain as explained

    decision = _decide(offline, body)
    if as_json:
        print(jsonbytes.dumps_pretty(explained(decision, offline.router()) if explain else _facts(decision)))
        return
    facts = _facts(decision)
    print(f"{facts['model']} ({facts['provider']}): {facts['reason']}")
    print(
        f"{facts['label']} with confidence {facts['confidence']:.2f}, difficulty {facts['difficulty']:.2f}, language {facts['language']}, "
        f"about {facts['prompt_tokens']} tokens"
    )
    if explain:
        print()
        show([_candidate(row) for row in explained(decision)["candidates"]], CANDIDATES, as_json=False)


def _facts(decision: "Decision") -> dict[str, Any]:
    from neuroroute.cli.expect import expected_cost_usd, seen

    read = seen(decision)
    return {
        "model": decision.chosen.model.name,
        "provider": decision.chosen.provider.name,
        "policy": decision.policy or None,
        "reason": decision.reason,
        "label": read.label,
        "confidence": round(read.confidence, 4),
        "abstained": read.abstained,
        "difficulty": round(read.difficulty, 4),
        "language": read.language,
        "prompt_tokens": read.prompt_tokens,
        "expected_cost_usd": expected_cost_usd(decision),
        "fallbacks": [target.name for target in decision.targets[1:]],
    }


def _candidate(row: dict[str, Any]) -> dict[str, Any]:
    verdict = "chosen" if row["chosen"] else ", ".join(row["closed"]) if row["closed"] else "" if row["admitted"] else "below the floor"
    changes = row["to_win"] or {}
    cost = row["expected_cost_usd"]
    return {
        "model": row["model"],
        "quality": row["quality"],
        "cost_usd": None if cost is None else f"{cost:.7f}",
        "latency_ms": row["expected_latency_ms"],
        "score": row["score"],
        "verdict": verdict or None,
        "to_win": " or ".join(f"{name} {value:g}" for name, value in changes.items()) or None,
    }


def _lines(file: Path) -> Iterator[tuple[str, bytes]]:
    """(place, line) of the lines that hold something."""
    try:
        text = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Fault(f"{file}: {error.strerror or error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"{file}:{number}", line


def _file(offline: "Offline", file: Path, asked: dict[str, Any], *, expect: bool, as_json: bool) -> int:
    """The exit status: 1 where an expectation was missed."""
    rows = [_row(offline, line, place, asked, expect=expect) for place, line in _lines(file)]
    if not rows:
        raise Fault(f"{file}: no line in it")
    failed = sum(not row["ok"] for row in rows)
    if as_json:
        print(jsonbytes.dumps_pretty({"lines": len(rows), "failed": failed, "data": rows}))
    else:
        for row in rows:
            row["result"] = ("ok" if expect else None) if row["ok"] else "; ".join(row["missed"])
        show(rows, ROWS, as_json=False)
        print(f"\n{len(rows)} lines, {failed} failed" if expect else f"\n{len(rows)} lines")
    return 1 if failed else 0


def _row(offline: "Offline", line: bytes, place: str, asked: dict[str, Any], *, expect: bool) -> dict[str, Any]:
    from neuroroute.cli.expect import missed, parse
    from neuroroute.core.errors import NeuroRouteError

    body, wanted = parse(line, place)
    if expect and not wanted:
        raise Fault(f"{place}: nothing is expected of it")
    own = {"neuroroute": {**asked.get("neuroroute", {}), **(body.get("neuroroute") or {})}}
    row: dict[str, Any] = {"line": int(place.rpartition(":")[2]), "prompt": _beginning(body)}
    try:
        decision = offline.decide({**asked, **body, **own})
    except NeuroRouteError as refused:
        return {**row, "ok": False, "missed": [refused.message]}
    missing = missed(decision, wanted) if expect else []
    return {**row, **_facts(decision), "ok": not missing, "missed": missing}


def _beginning(body: dict[str, Any]) -> str:
    messages = body["messages"]
    content = messages[-1].get("content") if isinstance(messages, list) and messages and isinstance(messages[-1], dict) else ""
    return content[:SHOWN_CHARS] if isinstance(content, str) else ""


_COLLECTED_AFTER: Final = 10_000
"""Objects; the default looks for cycles, of which readings leave none, every few prompts."""


def _batch(source: BinaryIO, out: BinaryIO) -> None:
    """Line by line, each answer flushed before the next question is read; what is no question is answered with an `error`."""
    from neuroroute.classifier import Classifier
    from neuroroute.classifier.batch import answer
    from neuroroute.routing.facts import facts

    known, classifier = facts(), Classifier.load()
    classifier.warm()
    gc.collect()
    gc.freeze()  # the table of weights is not walked again while readings are timed
    gc.set_threshold(_COLLECTED_AFTER)
    try:
        for line in source:
            if not line.strip():
                continue
            question, fault = _question(line)
            if fault:
                reply = {"id": question.get("id"), "error": fault}
            else:
                reply = answer(classifier, question, {name: _prior(known, name) for name in question.get("candidates") or ()})
            out.write(jsonbytes.dumps(reply) + b"\n")
            out.flush()
    except BrokenPipeError:  # the reader has enough; what is left in the buffer has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def _question(line: bytes) -> tuple[dict[str, Any], str]:
    """(question, what is wrong with it)"""
    try:
        question = jsonbytes.loads(line)
    except jsonbytes.JSONDecodeError:
        try:
            question = jsonbytes.loads(_mended(line))
        except jsonbytes.JSONDecodeError as error:
            return {}, f"not JSON: {error}"
    if not isinstance(question, dict):
        return {}, "a JSON object is expected"
    if not isinstance(question.get("prompt"), str):
        return question, "prompt: a text is expected"
    return question, "" if _are_candidates(question.get("candidates")) else "candidates: names, or names with qualities per label"


def _mended(line: bytes) -> bytes:
    """The line without what files bring along: a byte order mark, bytes that are no UTF-8, halves of a surrogate pair."""
    return _HALF_PAIR.sub(b"\\\\ufffd", line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace").encode())


def _are_candidates(given: object) -> bool:
    if isinstance(given, dict):
        return all(qualities is None or _are_qualities(qualities) for qualities in given.values())
    return given is None or (isinstance(given, list) and all(isinstance(name, str) for name in given))


def _are_qualities(given: object) -> bool:
    return isinstance(given, dict) and all(isinstance(share, (int, float)) for share in given.values())


def _prior(known: "KnownModels", name: str) -> Mapping[str, float]:
    """The quality of a model as the catalogue has it, or by the size that its name tells."""
    fact = known.get(name)
    return known.estimate(name) if fact is None else fact.model.quality
