"""The configuration's part on learning: `routing.learning`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class JudgeConfig(_Part):
    """Answers of `auto` that a stronger model judges in the background. Its calls are on the books with the tag shadow=true."""

    usd_per_day: Annotated[float, Field(ge=0, le=1_000_000)] = Field(
        default=0.0, description="what judging may cost in a day (UTC); 0 = off"
    )
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="who judges; default: the best model available"
    )
    share: Annotated[float, Field(ge=0, le=1)] = Field(default=0.02, description="of the answers of `auto`, while the budget lasts")


class LearningConfig(_Part):
    """How far feedback and outcomes may change what is expected of models."""

    enabled: bool = Field(default=True, description="off: qualities are those of the catalogue and of `models`")
    max_weight: Annotated[float, Field(ge=0, le=100_000)] = Field(
        default=100.0, description="how many observations the evidence on a model counts at most; the catalogue's quality counts 50"
    )
    exploration: Annotated[float, Field(ge=0, le=0.2)] = Field(
        default=0.0, description="share of `auto` calls that try another good model than the best, to learn of it"
    )
    judge: JudgeConfig = JudgeConfig()
