"""What a scan may cost: the budget of each preset, in one table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from apviso.protocol.states import ModelPreset
from apviso.protocol.wire import Wire

READ_ONLY_METHODS = ("GET", "HEAD", "OPTIONS")
# Path words that end a session or destroy data even by GET; a target opts in to them, not a preset.
EXCLUDED_PATH_WORDS = (
    "logout", "signout", "logoff", "delete", "remove", "reset", "createdb", "setup", "password", "unsubscribe", "payment",
)  # fmt: skip


class Limits(Wire):
    """`exclude_paths` are regular expressions, searched in path and query without regard to case."""

    max_run_seconds: Annotated[int, Field(ge=1, le=24 * 3600)]
    max_requests: Annotated[int, Field(ge=1, le=10_000_000)]
    requests_per_second: Annotated[float, Field(gt=0, le=10_000)]
    methods: list[str] = list(READ_ONLY_METHODS)
    exclude_paths: list[str] = list(EXCLUDED_PATH_WORDS)


# Sized from measured scanner runs: a small page set costs about 600 requests for the injection modules.
PRESETS: dict[ModelPreset, Limits] = {
    ModelPreset.FREE: Limits(max_run_seconds=120, max_requests=200, requests_per_second=10),
    ModelPreset.LOW: Limits(max_run_seconds=600, max_requests=3_000, requests_per_second=40),
    ModelPreset.MEDIUM: Limits(max_run_seconds=1_800, max_requests=10_000, requests_per_second=40),
    ModelPreset.HIGH: Limits(max_run_seconds=3_600, max_requests=20_000, requests_per_second=40),
    ModelPreset.ULTRA: Limits(max_run_seconds=10_800, max_requests=50_000, requests_per_second=60),
}
