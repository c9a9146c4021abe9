"""What every server answers to those who operate it: /health, /ready and /metrics."""

from typing import Any

from litestar import Response, get

from hubfleet.answers import Answer, respond
from hubfleet.metrics import CONTENT_TYPE, Metrics
from hubfleet.probes import Readiness


def handlers(readiness: Readiness, figures: Metrics) -> list[Any]:
    """The three handlers."""

    @get("/health", include_in_schema=False)
    async def health() -> dict[str, str]:
        """The process answers. It asks nobody, so that nobody's fault restarts it."""
        return {"status": "ok"}

    @get("/ready", include_in_schema=False)
    async def ready() -> Response[Any]:
        if obstacle := readiness.obstacle():
            return respond(Answer(503, obstacle, retry_after=1.0))
        return Response({"status": "ok", "clusters": readiness.report()})

    @get("/metrics", include_in_schema=False)
    async def scrape() -> Response[bytes]:
        return Response(figures.page(), media_type=CONTENT_TYPE)

    return [health, ready, scrape]
