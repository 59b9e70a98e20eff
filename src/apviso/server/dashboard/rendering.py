"""From values to a page: templates, how ages and sizes are written, what a page may load, and the files that it loads."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from apviso.protocol.wire import format_instant
from apviso.server.dashboard.runner_words import REASONS

# Nothing from elsewhere, nothing written into a page that would run; a page of ours is in no frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_SCRIPTS = ("dashboard.js", "add-runner.js", "scan-log.js", "findings.js")
STATIC = {"dashboard.css": "text/css", "icon.svg": "image/svg+xml"} | dict.fromkeys(_SCRIPTS, "text/javascript")
# Marks that turn the direction of what follows, or hide: shown by their number.
_HIDDEN = (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF)
_MARKS = {code: f"⟨U+{code:04X}⟩" for code in _HIDDEN}
# Control characters as their pictures; tabs and line ends do no harm.
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if code not in (0x09, 0x0A)}
_OTHERS = {0x7F: chr(0x2421)} | dict.fromkeys(range(0x80, 0xA0), chr(0xFFFD))
_SHOWN = _MARKS | _PICTURES | _OTHERS
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def plain(value: Any) -> Any:
    """Text in which nothing is hidden: for whatever a runner, a scanned site or a person wrote. Markup of our own passes."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return str(value).translate(_SHOWN)
    return value


def age(seconds: float) -> str:
    """`12 s`, `4 min`, `3 h`, `5 d`; the page's script writes it the same way."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def size(count: float) -> str:
    """Bytes in the largest unit of which there is at least one: `1.5 GiB`."""
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.3g} {unit}" if unit != "B" else f"{int(count)} B"
        count /= 1024
    return f"{count:.3g} {_UNITS[-1]}"


def number(count: float) -> str:
    """With a thin space between thousands."""
    return f"{count:,.0f}".replace(",", "\u202f")


def words(code: str) -> str:
    """A code of the API as words: `disk_low` is `disk low`."""
    return code.replace("_", " ")


def coded(text: str) -> Markup:
    """What stands between backticks is a command."""
    parts = str(plain(text)).split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts))


def moment(at: datetime) -> str:
    """Absolute, with its zone."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


@cache
def environment() -> Environment:
    env = Environment(
        loader=PackageLoader("apviso.server.dashboard", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=plain,
    )
    env.filters |= {"age": age, "size": size, "number": number, "words": words, "moment": moment, "instant": format_instant, "coded": coded}
    env.globals |= {"static": static_address, "runner_reasons": REASONS}
    return env


def page(template: str, request: Request, *, status_code: int = 200, **values: Any) -> HTMLResponse:
    """`now` is the server's clock; `path` is where the page is."""
    now = request.app.state.resources.database.clock()
    defaults: Mapping[str, Any] = {"now": now, "path": request.url.path, "live": "", "said": "", "visitor": None}
    written = environment().get_template(template).render({**defaults, **values})
    return HTMLResponse(written, status_code, headers={"content-security-policy": POLICY})


@cache
def _file(name: str) -> tuple[bytes, str]:
    content = files("apviso.server.dashboard").joinpath("static", name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


def static_address(name: str) -> str:
    """Changes with the file, so that a browser may keep it for good."""
    return f"/static/{name}?v={_file(name)[1]}"


@cache
def _packed(name: str) -> bytes:
    return gzip.compress(_file(name)[0], mtime=0)


def static_file(name: str, encodings: str) -> Response | None:
    """`encodings` are those that the browser takes. Pages are never packed: what of a secret packs well beside a guess would tell it."""
    if name not in STATIC:
        return None
    headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
    if "gzip" not in encodings:
        return Response(_file(name)[0], media_type=STATIC[name], headers=headers)
    return Response(_packed(name), media_type=STATIC[name], headers={**headers, "content-encoding": "gzip"})


def unquoted(text: str) -> str:
    return unquote(text, errors="replace")
