"""Why an answer ended, in the words of each dialect. The gateway's own word is OpenAI chat's finish_reason."""

from typing import Any, Final

FINISH_OF_STOP: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Anthropic's stop_reason -> finish_reason."""

STOP_OF_FINISH: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""finish_reason -> Anthropic's stop_reason."""


def finish_of_stop(stop_reason: Any) -> str:
    return FINISH_OF_STOP.get(stop_reason, "stop") if isinstance(stop_reason, str) else ""


def finish_of_response(response: dict[str, Any]) -> str:
    """finish_reason of a Responses object: from its status and whether it calls functions."""
    details = response.get("incomplete_details")
    if response.get("status") == "incomplete":
        reason = details.get("reason") if isinstance(details, dict) else None
        return "content_filter" if reason == "content_filter" else "length"
    if response.get("status") != "completed":
        return ""
    output = response.get("output")
    kinds = [item.get("type") for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    return "tool_calls" if "function_call" in kinds or "custom_tool_call" in kinds else "stop"
