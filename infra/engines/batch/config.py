"""Configures how an endpoint's vendor batch API is used: how long, how many, how often."""

from __future__ import annotations

from pydantic import field_validator

from infra.knobs import Knobs, execution


class BatchConfig(Knobs):
    """Use of a vendor's batch API; what is asked through it is the same as what is asked live."""

    window: str = execution(
        "24h", min_length=1, description="Time in which the vendor has to answer"
    )
    url: str = execution(
        "/v1/chat/completions",
        description="What each request is addressed to; /chat/completions on Azure",
    )
    poll_seconds: float = execution(
        60.0, gt=0, description="How often a batch that is under way is looked at, in seconds"
    )
    gather_seconds: float = execution(
        10.0, gt=0, description="A batch is sent once no further request came for so long"
    )
    min_requests: int = execution(
        20, ge=1, description="Fewer requests than these are asked at once, at the full price"
    )
    max_requests: int = execution(
        20_000, ge=1, le=50_000, description="Most requests of one batch, and rows open at once"
    )
    max_megabytes: float = execution(
        100.0, gt=0, le=200, description="Most that one batch's file may take"
    )
    max_submissions: int = execution(
        3, ge=1, description="How many batches may end without answering one request"
    )

    cancel_on_stop: bool = execution(
        False, description="Cancel batches when the run is stopped; what they finished is kept"
    )

    @field_validator("url")
    @classmethod
    def _begins_with_a_slash(cls, url: str) -> str:
        if not url.startswith("/"):
            raise ValueError("begins with /, as in /v1/chat/completions")
        return url
