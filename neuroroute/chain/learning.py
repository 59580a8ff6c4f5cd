"""
Learning from calls: what is seen of an answer, what users say of it, and what a judge thinks of it go into the shared posteriors.

`observe` and `opine` only add numbers to a buffer; `run` brings them to Postgres in batches and renews this worker's posteriors, at least every
REFRESH_S and at once when another version comes into force. A worker that dies loses two seconds of counts; opinions stay in their table.
Nothing of a prompt is kept: a question is known again by a hash, for a minute.
"""

import asyncio
import hashlib
import logging
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from neuroroute.chain.call import Call
from neuroroute.core import jsonbytes
from neuroroute.core.clock import monotonic_s
from neuroroute.core.config import LearningConfig
from neuroroute.core.dataclass import dataclass
from neuroroute.core.errors import ClientGone, NeuroRouteError
from neuroroute.core.types import Dialect, Target
from neuroroute.routing import trail
from neuroroute.routing.catalog import Catalog, is_auto
from neuroroute.routing.decision import Decision
from neuroroute.routing.evidence import NOTHING, Complaints, Signal, conforms, loops, opinion, refuses
from neuroroute.routing.forecast import MEAN_DIFFICULTY, UNSURE
from neuroroute.routing.judge import shortened
from neuroroute.routing.posteriors import Knobs, Posteriors, cell_of, tercile_of
from neuroroute.routing.router import Router
from neuroroute.store.feedback import FeedbackRow
from neuroroute.store.learned import CHANNEL, Cell, Counts, Learned
from neuroroute.store.postgres import Database
from neuroroute.store.usage import UsageRecord

FLUSH_S: Final = 2.0
REFRESH_S: Final = 15.0
AGAIN_S: Final = 60.0
"""The same question of the same key within so long means that the answer did not do."""
_MOST_AGAIN: Final = 3  # a program that asks the same all the time complains of nothing
_MOST_ASKED: Final = 5_000
_MOST_WAITING: Final = 5_000  # cells
_HASHED_CHARS: Final = 8_000
_PREFERRED: Final = Counts(0.5, 0.0)  # for a model that somebody says should have answered: nobody saw its answer
_CHAT: Final = frozenset({Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES, Dialect.COMPLETIONS})
_log = logging.getLogger("neuroroute.learning")


@dataclass(slots=True)
class _Asked:
    """A question that was answered a moment ago. times: how often it was asked."""

    cell: Cell
    quality: float
    done_s: float
    times: int


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer that waits for a judge."""

    request_id: str
    target: str
    cell: Cell
    prompt: str
    answer: str


class Learning:
    """One per worker. means: mean difficulty per label, from the classifier. to_judge: what waits for the judge; the oldest make room."""

    def __init__(self, database: Database, config: Callable[[], LearningConfig], means: Mapping[str, float]) -> None:
        self._learned, self._database, self.config, self._means = Learned(database), database, config, means
        self.posteriors = Posteriors(lambda: _knobs(config()))
        self.to_judge: deque[Judged] = deque(maxlen=100)
        self._complaints = Complaints()
        self._waiting: dict[Cell, Counts] = {}
        self._asked: OrderedDict[bytes, _Asked] = OrderedDict()
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._stale = True

    def settled(self, call: Call, router: Router) -> dict[str, Any] | None:
        """`observe`, and what the call's row keeps of its decision."""
        signal = self.observe(call, router)
        return None if call.decision is None else trail.of(call.decision, outcome=signal or "", exploration=self.posteriors.exploration)

    def observe(self, call: Call, router: Router) -> Signal | None:
        """What a call that is over says of the model that answered it; None: nothing to complain of. Never raises, never waits."""
        seen, target, catalog, principal = call.classification, call.target, call.catalog, call.principal
        left = isinstance(call.error, ClientGone)
        if (
            seen is None
            or target is None
            or catalog is None
            or principal is None
            or call.cache_state in ("hit", "joined")
            or call.dialect not in _CHAT
        ):
            return None
        if call.error is not None and not (left and call.committed):
            return None
        signal = Signal.LEFT if left else _signal(call)
        if not self.config().enabled:
            return signal
        quality = _expected(call.decision, target) or router.expected(target, seen, catalog)
        if quality is None:
            return signal
        cell = cell_of(target.name, seen, self._means)
        self.add(cell, self._complaints.weigh(quality, signal))
        if call.conversation is not None and call.conversation.prompt:
            self._ask(call, cell, quality, complained=signal is not None)
            self._sample(call, cell)
        return signal

    def opine(self, row: UsageRecord, said: FeedbackRow, before: FeedbackRow | None, catalog: Catalog) -> None:
        """What a client says of an answer, in the place of what it said before."""
        if not self.config().enabled:
            return
        for view, sign in ((before, -1.0), (said, 1.0)):
            for cell, counts in opinions(row, view, catalog, self._means) if view is not None else ():
                self.add(cell, Counts(sign * counts.good, sign * counts.bad))

    def add(self, cell: Cell, counts: Counts) -> None:
        """Evidence, to be written with the next batch."""
        if counts == NOTHING:
            return
        held = self._waiting.get(cell)
        if held is None and len(self._waiting) >= _MOST_WAITING:
            return
        self._waiting[cell] = counts if held is None else Counts(held.good + counts.good, held.bad + counts.bad)

    def _ask(self, call: Call, cell: Cell, quality: float, *, complained: bool) -> None:
        """Whether this question was asked a moment ago: then the answer of that time did not do."""
        assert call.principal is not None and call.conversation is not None
        text = f"{call.principal.key_id}\0{call.conversation.turns}\0{call.conversation.prompt[:_HASHED_CHARS]}"
        question, now_s = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest(), monotonic_s()
        last = self._asked.pop(question, None)
        times = 1
        if last is not None and 0.0 <= call.started_s - last.done_s <= AGAIN_S:
            times = last.times + 1
            if times <= _MOST_AGAIN:
                self.add(last.cell, self._complaints.late(last.quality))
        self._asked[question] = _Asked(cell, quality, now_s, _MOST_AGAIN if complained and times == 1 else times)
        if len(self._asked) > _MOST_ASKED:
            self._asked.popitem(last=False)

    def _sample(self, call: Call, cell: Cell) -> None:
        """Some answers of `auto` wait for the judge, where one is paid for."""
        judge = self.config().judge
        if judge.usd_per_day <= 0.0 or call.error is not None or not is_auto(call.requested_model) or random.random() >= judge.share:
            return
        answer = answer_of(call)
        if answer and call.conversation is not None:
            prompt = call.conversation.prompt
            self.to_judge.append(Judged(call.request_id, cell.model, cell, shortened(prompt), shortened(answer)))

    async def run(self) -> None:
        """Write and renew, for ever."""
        stop = self._database.listen(CHANNEL, lambda version: self._changed(), self._changed)
        try:
            renewed_s = -REFRESH_S
            while True:
                await self.flush()
                if self._stale or monotonic_s() - renewed_s >= REFRESH_S:
                    await self.renew()
                    renewed_s = monotonic_s()
                self._wake.clear()
                try:
                    async with asyncio.timeout(FLUSH_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            stop()

    def _changed(self) -> None:
        self._stale = True
        self._wake.set()

    async def flush(self) -> None:
        """All that was added before is in the table then. Raises: DatabaseAway: then all waits for the next time."""
        async with self._writing:
            waiting, self._waiting = self._waiting, {}
            try:
                await self._learned.add(waiting)
            except BaseException:
                for cell, counts in waiting.items():
                    self.add(cell, counts)
                raise

    async def renew(self) -> None:
        """Take over what all processes learned. Raises: DatabaseAway"""
        self._stale = False
        try:
            version, counts = await self._learned.current()
        except BaseException:
            self._stale = True
            raise
        number, priors = (0, {}) if version is None else (version.version, version.priors)
        if number != self.posteriors.version:
            _log.info("what was learned is of version %d", number)
        self.posteriors.load(number, priors, counts)

    async def close(self, deadline_s: float = 2.0) -> None:
        """Write what is left, for at most `deadline_s`."""
        try:
            async with asyncio.timeout(deadline_s):
                await self.flush()
        except (TimeoutError, NeuroRouteError) as error:
            _log.warning("the last counts are lost: %s", error)


def _knobs(config: LearningConfig) -> Knobs:
    return Knobs(config.enabled, config.max_weight, config.exploration)


def opinions(row: UsageRecord, said: FeedbackRow, catalog: Catalog, means: Mapping[str, float]) -> list[tuple[Cell, Counts]]:
    """What an opinion on a call counts, and where: for the model that answered, and for the one that should have."""
    label, kept = said.label or row.label, trail.read(row.decision)
    if label is None or row.model is None or row.provider is None:
        return []
    if said.label is None and kept is not None and kept.unsure:
        label = UNSURE
    mean = means.get(label, MEAN_DIFFICULTY)
    tercile = tercile_of(mean if row.difficulty is None else row.difficulty, mean)
    found = [(Cell(f"{row.provider}/{row.model}", label, tercile), opinion(said.score))]
    preferred = None if said.correct_model is None else catalog.entry(said.correct_model)
    if preferred is not None and preferred.key != found[0][0].model:
        found.append((Cell(preferred.key, label, tercile), _PREFERRED))
    return found


def _expected(decision: Decision | None, target: Target) -> float | None:
    """The quality that the decision expected of a model; None where it weighed none."""
    for candidate in decision.candidates if decision is not None else ():
        if candidate.entry.target is target:
            return candidate.quality
    return None


def _signal(call: Call) -> Signal | None:
    """What is wrong with an answer that came to its end."""
    text = answer_of(call)
    schema = _asked_schema(call)
    if schema is not None and call.finish_reason == "stop" and text and not _keeps(text, schema):
        return Signal.BROKEN
    if call.finish_reason in ("content_filter", "refusal") or refuses(text):
        return Signal.REFUSED
    if loops(text):
        return Signal.LOOPED
    bounded = call.conversation is not None and call.conversation.max_output_tokens is not None
    return Signal.TRUNCATED if call.finish_reason == "length" and not bounded else None


def answer_of(call: Call) -> str:
    """The text of the answer, where it is still at hand; empty otherwise."""
    answer = call.answer
    return "" if answer is None else text_of(answer) if isinstance(answer, bytes) else answer()


def text_of(body: bytes) -> str:
    """The text of a whole answer of any dialect; empty where there is none, as in tool calls."""
    try:
        answer = jsonbytes.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(answer, dict):
        return ""
    choices = answer.get("choices")
    if isinstance(choices, list):
        choice = choices[0] if choices and isinstance(choices[0], dict) else {}
        message = choice.get("message")
        said = message if isinstance(message, dict) else {"content": choice.get("text")}
        return _joined(said.get("content")) or _joined(said.get("refusal"))
    output = answer.get("output")
    if isinstance(output, list):
        return "".join(_joined(item.get("content")) for item in output if isinstance(item, dict) and item.get("type") == "message")
    return _joined(answer.get("content"))


def _joined(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def _asked_schema(call: Call) -> Mapping[str, Any] | None:
    """The JSON schema that the answer was to keep."""
    shape, text = call.body.get("response_format"), call.body.get("text")
    found = shape.get("json_schema") if isinstance(shape, dict) and shape.get("type") == "json_schema" else None
    if found is None and isinstance(text, dict) and isinstance(text.get("format"), dict) and text["format"].get("type") == "json_schema":
        found = text["format"]
    schema = found.get("schema") if isinstance(found, dict) else None
    return schema if isinstance(schema, dict) else None


def _keeps(text: str, schema: Mapping[str, Any]) -> bool:
    try:
        return conforms(jsonbytes.loads(text), schema)
    except (ValueError, RecursionError):
        return False
