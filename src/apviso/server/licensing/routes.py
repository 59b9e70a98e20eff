"""`GET /api/v1/quota`: what the license permits and what of it is taken."""

from __future__ import annotations

from fastapi import APIRouter

from apviso.protocol.licenses import Quota
from apviso.server.access import AnyKey
from apviso.server.errors import CredentialInvalid, CredentialMissing, RateLimited, WrongCredential, responses
from apviso.server.licensing import store
from apviso.server.licensing.current import current_license
from apviso.server.resources import Plant, Reading

router = APIRouter(prefix="/api/v1/quota", tags=["administration"])


@router.get("", responses=responses(CredentialMissing, CredentialInvalid, WrongCredential, RateLimited))
async def get_quota(caller: AnyKey, plant: Plant, work: Reading) -> Quota:
    """The license as it stands now, and the runners, live jobs and targets that count against its limits."""
    license_ = await current_license(work, plant, caller.organization_id)
    return Quota(tier=license_.plan, license=license_, usage=await store.usage(work, caller.organization_id))
