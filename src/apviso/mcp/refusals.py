"""Why a call of a tool came to nothing, in words that an assistant can act on: the code, one sentence, what to do. Quotes no secret."""

from __future__ import annotations

from pydantic import JsonValue, ValidationError

from apviso.client import (
    ApvisoError,
    BadCredential,
    Conflict,
    Forbidden,
    InvalidRequest,
    LicenseRefused,
    NotFound,
    NotYet,
    RateLimited,
    Unreachable,
)
from apviso.mcp.quoting import Marks, cleaned, cut

MAX_SENTENCE = 1_000
MAX_DETAILS = 20
UNKNOWN_EFFECT = "Whether a change has taken effect is unknown: look before you repeat it."


def explained(error: ApvisoError, marks: Marks) -> str:
    lines = [_line(str(error)), *_details(error, marks), f"What to do: {_line(_advice(error))}"]
    if error.request_id is not None:
        lines.append(f"Request id: {_line(error.request_id)}")
    return "\n".join(lines)


def explained_arguments(error: ValidationError) -> str:
    """What is wrong with which argument; the values are not repeated."""
    wrong = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False, include_url=False)]
    return "\n".join(["invalid_arguments: nothing was sent.", *(_line(one) for one in wrong[:MAX_DETAILS])])


def _details(error: ApvisoError, marks: Marks) -> list[str]:
    """Fields that are wrong, checks that fail."""
    readiness = error.member("readiness")
    ready_checks = _failed(readiness.get("checks") if isinstance(readiness, dict) else None)
    lines = [_line(f"- {field.field}: {field.message}") for field in error.fields]
    lines += [_line(f"- {check.get('message')} Fix: {check.get('fix')}") for check in ready_checks]
    # What a look for a proof of control has seen is the site's own text.
    lines += [f"- {marks.around(_line(_seen(check)))}" for check in _failed(error.member("checks"))]
    return lines[:MAX_DETAILS]


def _failed(checks: JsonValue) -> list[dict[str, JsonValue]]:
    return [check for check in checks if isinstance(check, dict) and not check.get("ok")] if isinstance(checks, list) else []


def _seen(check: dict[str, JsonValue]) -> str:
    told = (f"{name}: {check[name]}" for name in ("lookedAt", "message", "seen", "required", "fix") if check.get(name))
    return "; ".join(told)


def _advice(error: ApvisoError) -> str:  # noqa: C901 - one line for each family
    match error:
        case Unreachable():
            return f"Tell the user that the control plane cannot be reached; APVISO_API_URL names it. {UNKNOWN_EFFECT}"
        case BadCredential():
            return "Tell the user that the API key in APVISO_API_KEY is not valid any more and has to be replaced."
        case Forbidden(code="insufficient_scope"):
            return f"Tell the user that the API key lacks the scope {error.member('required') or 'that this needs'}."
        case NotFound(code="not_found"):
            return "This control plane does not offer this; it is an older one."
        case NotFound():
            return "Look up the id with the tool that lists such things."
        case NotYet():
            return "Ask get_scan how far the scan is, and try again when it has ended."
        case Conflict(code="scan_already_active"):
            return "Look at the scan that is active with list_scans; cancel it or wait for its end."
        case Conflict(code="runner_not_ready"):
            return "Tell the user which checks fail and how each is fixed, or start the scan with when_unavailable=queue."
        case LicenseRefused():
            return "Tell the user that the installed license does not permit this; get_quota shows what it permits."
        case InvalidRequest():
            return "Correct the arguments that are named."
        case RateLimited():
            return f"Wait {error.retry_after or 60:g} seconds, then try again."
        case _:
            return "Try again in a minute." if error.is_temporary else "Tell the user; trying again will not help."


def _line(text: str) -> str:
    return cut(cleaned(text).replace("\n", " "), MAX_SENTENCE)
