"""The address of a control plane, as people write it and as it is kept."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator


def control_plane_address(value: str) -> str:
    """Without path of the API and slash at the end. Raises ValueError for what is no plain http or https address."""
    parts = urlsplit(value.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https address, such as https://apviso.example.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold neither user, password, query nor fragment")
    return value.strip().rstrip("/").removesuffix("/api/v1").removesuffix("/api").rstrip("/")


ApiUrl = Annotated[str, AfterValidator(control_plane_address)]
