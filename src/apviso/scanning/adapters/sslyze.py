"""The adapter of SSLyze: how the target speaks TLS. Its exit code tells nothing; whether it connected stands in its report.

Its connections go through the guard as tunnels for handshakes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from apviso.protocol.findings import ReportedFinding
from apviso.scanning import environment
from apviso.scanning.adapters.tool import INTERRUPT, Assignment, Result, ToolFailed
from apviso.scanning.catalogue import FlawClass
from apviso.scanning.evidence import excerpt, one_line
from apviso.scanning.guard_rules import allowed_host
from apviso.scanning.reporting import reported

MAX_REPORT_BYTES = 32 * 1024 * 1024
LEAST_RSA_BITS = 2_048
# The user under whom the guard carries handshakes; the password means nothing.
_TUNNEL_USER = "handshake:only"
_OLD = {"ssl_3_0_cipher_suites": "SSL 3.0", "tls_1_0_cipher_suites": "TLS 1.0", "tls_1_1_cipher_suites": "TLS 1.1"}
_NEW = {"tls_1_2_cipher_suites": "TLS 1.2", "tls_1_3_cipher_suites": "TLS 1.3"}
_WEAK_WORDS = ("_NULL_", "_anon_", "EXPORT", "_RC4_", "_RC2_", "_DES_", "_3DES_", "_MD5", "_IDEA_", "_SEED_")
LEAST_CIPHER_BITS = 128


async def scan(assignment: Assignment) -> Result:
    """Every version and cipher suite, and the certificate. Raises ToolFailed."""
    report = assignment.work_dir / "sslyze.json"
    ended = await assignment.run(command(assignment, str(report)), INTERRUPT, lambda _: None)
    try:
        if report.stat().st_size > MAX_REPORT_BYTES:
            raise ToolFailed("its report is larger than a scan may keep")
        text = report.read_bytes()
    except OSError as error:
        raise ToolFailed(f"it left no report (exit code {ended.exit_code})", stopped=ended.stopped) from error
    return parse(text, assignment.origin, datetime.now(UTC))


def command(assignment: Assignment, report: str) -> list[str]:
    """Compliance profiles are off: they make the exit code fail. Nothing else is connected to, and no trust store fetched."""
    host, proxy = allowed_host(assignment.order.target.scan_url), urlsplit(assignment.order.proxy_url)
    shown = f"[{host.host}]" if ":" in host.host else host.host
    whole = ("--tlsv1_2", "--tlsv1_3", "--heartbleed", "--robot") if assignment.plan.tls_versions else ()
    return [
        *environment.program(assignment.scanners_dir, "sslyze"), "--quiet", "--mozilla_config", "disable", "--json_out", report,
        "--https_tunnel", f"http://{_TUNNEL_USER}@{proxy.netloc}", "--certinfo", "--tlsv1", "--tlsv1_1", *whole, f"{shown}:{host.port}",
    ]  # fmt: skip


def parse(text: bytes, origin: str, now: datetime) -> Result:
    """Findings of a report; what could not be checked is a gap. Raises ToolFailed."""
    try:
        # A key's modulus is a number of any length, which nobody needs here.
        told = json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 20 else 0)
        server = told["server_scan_results"][0]
        connected, checks = server["connectivity_status"] == "COMPLETED", server["scan_result"] or {}
        if not connected:
            raise ToolFailed("it could not agree on TLS with the target")
        return _read(checks, origin, now)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise ToolFailed("its report is not in a known form") from error


def _read(checks: Mapping[str, Any], origin: str, now: datetime) -> Result:
    done = {name: check["result"] for name, check in checks.items() if check.get("status") == "COMPLETED"}
    failed = [name for name, check in checks.items() if check.get("status") == "ERROR"]
    if not done:
        raise ToolFailed("none of its checks came to its end")
    gaps = [f"tls_unchecked: SSLyze could not check {', '.join(sorted(failed)).replace('_', ' ')}."] if failed else []
    return Result([*_versions(done, origin), *_certificate(done, origin, now), *_known_flaws(done, origin)], gaps)


def _finding(flaw: FlawClass, origin: str, evidence: str) -> ReportedFinding:
    check = f"openssl s_client -connect {urlsplit(origin).netloc}"
    return reported(flaw, detector="sslyze", origin=origin, path="/", evidence=excerpt(evidence), reproduction=[check])


def _versions(done: Mapping[str, Any], origin: str) -> Iterator[ReportedFinding]:
    old = [title for name, title in _OLD.items() if _accepted(done, name)]
    if old:
        yield _finding(FlawClass.OLD_TLS, origin, f"The server agreed to {', '.join(old)}.")
    weak = {suite: title for name, title in (_OLD | _NEW).items() for suite in _accepted(done, name) if _is_weak(suite)}
    if weak:
        listed = "\n".join(f"{title}: {suite[0]}" for suite, title in sorted(weak.items()))
        yield _finding(FlawClass.WEAK_CIPHER, origin, f"The server agreed to {len(weak)} weak cipher suites:\n{listed}")


def _accepted(done: Mapping[str, Any], check: str) -> list[tuple[str, bool, int]]:
    """Each accepted suite: name, whether it is anonymous, bits of its key."""
    suites = (done.get(check) or {}).get("accepted_cipher_suites") or []
    ciphers = [suite.get("cipher_suite") or {} for suite in suites]
    return [(one_line(str(c.get("name")), 100), bool(c.get("is_anonymous")), int(c.get("key_size") or 0)) for c in ciphers]


def _is_weak(suite: tuple[str, bool, int]) -> bool:
    name, anonymous, bits = suite
    return anonymous or bits < LEAST_CIPHER_BITS or any(word in f"{name}_" for word in _WEAK_WORDS)


def _certificate(done: Mapping[str, Any], origin: str, now: datetime) -> Iterator[ReportedFinding]:
    deployments = (done.get("certificate_info") or {}).get("certificate_deployments") or []
    for deployment in deployments[:1]:
        chain = deployment.get("received_certificate_chain") or []
        leaf: Mapping[str, Any] = chain[0] if chain else {}
        names = [_name(leaf.get(part)) for part in ("subject", "issuer")]
        about = f"Subject: {names[0]}\nIssuer: {names[1]}\nValid until: {leaf.get('not_valid_after')}"
        faults = list(_faults(leaf, urlsplit(origin).hostname or "", now))
        if faults:
            yield _finding(FlawClass.BAD_CERTIFICATE, origin, "\n".join([*faults, "", about]))
        elif deployment.get("verified_certificate_chain") is None:
            yield _finding(FlawClass.PRIVATE_AUTHORITY, origin, about)


def _name(entity: Any) -> str:
    told = (entity or {}).get("rfc4514_string") if isinstance(entity, Mapping) else None
    return one_line(str(told or "unknown"), 300)


def _faults(leaf: Mapping[str, Any], host: str, now: datetime) -> Iterator[str]:
    until, since = _instant(leaf.get("not_valid_after")), _instant(leaf.get("not_valid_before"))
    if until is not None and until < now:
        yield "The certificate has expired."
    if since is not None and since > now:
        yield "The certificate is not valid yet."
    if leaf.get("issuer") == leaf.get("subject") and leaf.get("subject") is not None:
        yield "The certificate is signed by itself."
    names = leaf.get("subject_alternative_name")
    if isinstance(names, Mapping) and not _names_host(names, host):
        yield "The certificate is for another name."
    key = leaf.get("public_key") or {}
    if key.get("rsa_e") is not None and int(key.get("key_size") or 0) < LEAST_RSA_BITS:
        yield f"The certificate's RSA key has {key.get('key_size')} bits."
    signature = (leaf.get("signature_hash_algorithm") or {}).get("name")
    if signature in ("md5", "sha1"):
        yield f"The certificate is signed with {signature}."


def _names_host(names: Mapping[str, Any], host: str) -> bool:
    """RFC 9525: an asterisk stands for the whole first label and for nothing else."""
    told = [str(name).lower() for name in names.get("dns_names") or ()]
    addresses = [str(address) for address in names.get("ip_addresses") or ()]
    return host in told or host in addresses or f"*.{host.partition('.')[2]}" in told


def _instant(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _known_flaws(done: Mapping[str, Any], origin: str) -> Iterator[ReportedFinding]:
    if (done.get("heartbleed") or {}).get("is_vulnerable_to_heartbleed"):
        yield _finding(FlawClass.HEARTBLEED, origin, "The server sent back more memory than was its to send.")
    robot = str((done.get("robot") or {}).get("robot_result", ""))
    if robot.startswith("VULNERABLE"):
        yield _finding(FlawClass.ROBOT, origin, f"SSLyze: {one_line(robot, 100)}")
