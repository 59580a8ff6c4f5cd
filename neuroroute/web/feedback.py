"""POST /v1/feedback: what a client says of an answer that it got."""

import asyncio
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from neuroroute.core.errors import BadRequest, NotFound
from neuroroute.core.types import Principal
from neuroroute.store.feedback import Feedback, FeedbackRow
from neuroroute.store.usage import Usage, UsageRecord
from neuroroute.web.bodies import answer, read_body
from neuroroute.web.identity import caller
from neuroroute.web.state import DATABASE, SERVICES

_SETTLES_S: Final = 0.5
"""How long after its answer a call may take to be on the books, in whichever process it ran."""
_LOOKS: Final = 3


class FeedbackBody(BaseModel):
    """
    score: -1 (bad) to 1 (good). correct_model: who should have answered. label: what kind of work it was, where the router took it for another.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    request_id: Annotated[str, Field(min_length=1, max_length=64)]
    score: Annotated[float, Field(ge=-1, le=1, strict=True, allow_inf_nan=False)]
    correct_model: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    label: (
        Literal[
            "code", "math", "reasoning", "writing", "roleplay", "rewriting", "summarization",
            "extraction", "classification", "translation", "factual_qa", "advice", "chat",
        ]
        | None
    ) = None  # fmt: skip
    comment: Annotated[str, Field(max_length=4000)] | None = None


async def feedback(request: web.Request) -> web.Response:
    """POST /v1/feedback: on a call of the caller's own; a key's second opinion on a call replaces its first."""
    principal = await caller(request, "v1")
    body = await read_body(request, FeedbackBody)
    _known(request, body)
    row = await _own_call(request, principal, body.request_id)
    return answer(shown(await noted(request, principal, row, body)))


async def noted(request: web.Request, principal: Principal, row: UsageRecord, body: FeedbackBody) -> FeedbackRow:
    """Put an opinion on a call on record, and learn from it. Raises: BadRequest where `correct_model` is not known."""
    _known(request, body)
    async with request.app[DATABASE].transaction() as change:
        said, before = await Feedback(change).replace(
            row.request_id,
            key_id=principal.key_id,
            user_id=principal.user_id,
            score=body.score,
            correct_model=body.correct_model,
            label=body.label,
            comment=body.comment,
        )
    s = request.app[SERVICES]
    s.learning.opine(row, said, before, s.catalog.current)
    return said


def _known(request: web.Request, body: FeedbackBody) -> None:
    if body.correct_model is not None and request.app[SERVICES].catalog.current.entry(body.correct_model) is None:
        raise BadRequest(f"correct_model: there is no model '{body.correct_model}'", param="correct_model")


def shown(said: FeedbackRow) -> dict[str, object]:
    """An opinion as the API shows it."""
    return {
        "object": "feedback",
        "id": said.id,
        "request_id": said.request_id,
        "score": said.score,
        "correct_model": said.correct_model,
        "label": said.label,
        "comment": said.comment,
        "created_at": said.created_at,
    }


async def _own_call(request: web.Request, principal: Principal, request_id: str) -> UsageRecord:
    """
    The call on the books; feedback may come before its row, so it is looked for a little longer.

    Raises: NotFound, also where it is another user's: who asks learns nothing of it.
    """
    usage = Usage(request.app[DATABASE])
    for look in range(_LOOKS):
        if look:
            await asyncio.sleep(_SETTLES_S / (_LOOKS - 1))
        row = await usage.get(request_id)
        if row is not None:
            break
    if row is None or row.user_id != principal.user_id:
        raise NotFound(f"There is no call '{request_id}' of yours.", param="request_id")
    return row
