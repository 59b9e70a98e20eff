"""Creates that may be sent twice: the same Idempotency-Key gives the first answer again instead of a second thing."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request

from apviso.protocol.wire import Wire
from apviso.server.access import AnyKey, Caller
from apviso.server.db import answers
from apviso.server.db.engine import Work
from apviso.server.errors import AlreadyIssued, IdempotencyKeyReused
from apviso.server.resources import Writing

Answer = TypeVar("Answer", bound=Wire)


@dataclass(frozen=True)
class Once:
    """Runs a create at most once for each key; without a key, always."""

    work: Work
    caller: Caller
    key: str | None
    digest: str

    async def create(self, kind: type[Answer], make: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of `make`, or the kept one. Raises IdempotencyKeyReused for another request under the same key."""
        if self.key is None:
            return await make()
        kept = await self._kept(self.key)
        if kept is not None:
            return kind.model_validate_json(kept)
        answer = await make()
        await answers.keep(self.work, self.caller.organization_id, self.key, answer.model_dump_json(by_alias=True))
        return answer

    async def issue(self, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """Like `create` for an answer that holds a secret: a repeat is refused, because the secret is not kept."""
        if self.key is not None:
            await self._kept(self.key)
        return await make()

    async def _kept(self, key: str) -> str | None:
        organization_id = self.caller.organization_id
        if await answers.reserve(self.work, organization_id, key, self.digest):
            return None
        digest, answer = await answers.find(self.work, organization_id, key)
        if digest != self.digest:
            raise IdempotencyKeyReused
        if answer is None:
            raise AlreadyIssued
        return answer


async def _once(
    request: Request,
    caller: AnyKey,
    work: Writing,
    key: Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")] = None,
) -> Once:
    body = await request.body()
    digest = hashlib.sha256(b"\n".join([request.method.encode(), request.url.path.encode(), body])).hexdigest()
    return Once(work, caller, key, digest)


Idempotent = Annotated[Once, Depends(_once, scope="function")]
