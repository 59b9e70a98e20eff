"""The order that a scan is given: the one line of JSON at the start of its standard input.

Holds no secret but the model provider's, for an image that declares the need."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from apviso.protocol.findings import Finding
from apviso.protocol.limits import Limits
from apviso.protocol.states import ModelPreset
from apviso.protocol.targets import JobTarget
from apviso.protocol.wire import Wire

# A retest may carry hundreds of findings with their evidence; nothing larger is an order.
MAX_ORDER_BYTES = 16 * 1024 * 1024
# Places inside every scan image, and the port at which it shows the guard to its scanners.
IMAGE_WORK_DIR = "/work"
IMAGE_SCANNERS_DIR = "/opt/apviso/scanners"
IMAGE_GUARD_DIR = "/run/guard"
GUARD_SOCKET = "proxy.sock"
IMAGE_PROXY_PORT = 3128


class ScanOrder(Wire):
    """`proxy_url` is the guard, the only way to the target; `work_dir` and `scanners_dir` are absolute paths.

    `identities` are the names that a request may carry as `X-Apviso-Identity`; the first is what it is sent as when it names none.
    `api_document` is the address, or the path on the target, of an OpenAPI document.
    `provider_credentials` are by the name of their variable, and only for an image that declares that it needs a model provider.
    Where the scan has no network, the guard is at `proxy_socket`, and the scan itself shows it at `proxy_url` on its own loopback.
    """

    scan_id: Annotated[str, Field(min_length=1, max_length=64)]
    attempt: Annotated[int, Field(ge=1)]
    model_preset: ModelPreset
    is_retest: bool = False
    retest_findings: list[Finding] = Field(default_factory=list)
    target: JobTarget
    limits: Limits
    identities: list[str] = Field(default_factory=list)
    provider_credentials: dict[str, str] = Field(default_factory=dict, repr=False)
    proxy_url: str
    proxy_socket: str | None = None
    api_document: str | None = None
    work_dir: str
    scanners_dir: str
