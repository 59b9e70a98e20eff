"""Decides which findings are the same flaw: over detectors, attempts and scans. Pure."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

from apviso.protocol.findings import ReportedFinding

# Parts of a path that name one thing among many: numbers, UUIDs, long hexadecimal words.
_IDENTIFIER = re.compile(r"\d+|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{16,}")


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return url.partition("?")[0]


def path_template(url: str) -> str:
    """The path with its identifiers replaced: `/users/17/orders` and `/users/4/orders` are one place."""
    parts = ["{id}" if _IDENTIFIER.fullmatch(part) else part for part in _path(url).split("/")]
    return "/".join(parts).rstrip("/") or "/"


def fingerprint(finding: ReportedFinding) -> str:
    """64 hexadecimal characters over the class (CWE, or the title where there is none), method, path template and parameter."""
    kind = f"cwe-{finding.cwe_id}" if finding.cwe_id is not None else finding.title.casefold()
    # Without a parameter the title tells flaws apart (several missing headers share one CWE), but for the path that it may name.
    titled = finding.title.replace(_path(finding.url), "").casefold()
    place = [kind, finding.method.upper(), path_template(finding.url), finding.parameter or f"title:{titled}"]
    return hashlib.sha256("\x1f".join(place).encode()).hexdigest()
