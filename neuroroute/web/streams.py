"""/v1/streams/{request_id}: come back to a resumable stream whose line was cut, or end it."""

from aiohttp import web

from neuroroute.chain.life import play
from neuroroute.web.bodies import answer, whole_number
from neuroroute.web.identity import caller
from neuroroute.web.sink import HttpSink
from neuroroute.web.state import KEEP_ALIVE, SERVICES


async def resume(request: web.Request) -> web.StreamResponse:
    """GET /v1/streams/{id}?after=N: the events after the first N, then live. N is how many the client has (comments do not count)."""
    principal = await caller(request)
    s = request.app[SERVICES]
    after = whole_number(request, "after", 0, 0, 10**8)
    tape = await s.tapes.find(request.match_info["id"], principal.user_id)
    sink = HttpSink(request, s.settings.slow_client_timeout_s, request.app[KEEP_ALIVE])
    try:
        await play(tape, after, sink)
    finally:
        sink.close()
    return sink.response or web.Response(status=499)


async def stop(request: web.Request) -> web.Response:
    """DELETE /v1/streams/{id}: nobody will come back; the provider is asked to stop."""
    principal = await caller(request)
    tape = await request.app[SERVICES].tapes.find(request.match_info["id"], principal.user_id)
    tape.stop()
    return answer({"id": tape.request_id, "object": "stream.deleted", "deleted": True})
