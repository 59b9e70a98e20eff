"""Credentials for targets: who gets them, and that mistakes never show them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from pydantic import JsonValue

from apviso.protocol.states import Visibility
from apviso.protocol.targets import JobTarget
from apviso.protocol.wire import TargetId
from apviso.runner.private_files import ExposedFile
from apviso.runner.redaction import PLACEHOLDER, Redactor
from apviso.runner.target_auth.file import BadTargetAuth, add_entry, load_target_auth
from apviso.runner.target_auth.matching import find_entries

CANARY = "canary-secret-value"


def target(scan_url: str = "https://shop.internal/app/", domain: str = "shop.internal", id: str = "target-1") -> JobTarget:
    return JobTarget(id=TargetId(id), domain=domain, display_url=scan_url, scan_url=scan_url, visibility=Visibility.PRIVATE_INTERNAL)


def written(tmp_path: Path, text: str, name: str = "auth.toml", mode: int = 0o600) -> Path:
    path = tmp_path / name
    path.write_text(text)
    path.chmod(mode)
    return path


def entry(**facts: object) -> str:
    return "[[targets]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in facts.items())


@pytest.mark.parametrize(
    ("facts", "headers"),
    [
        ({"type": "none"}, {}),
        ({"type": "bearer", "token": CANARY}, {"Authorization": f"Bearer {CANARY}"}),
        (
            {"type": "basic", "username": "ada", "password": CANARY},
            {"Authorization": "Basic " + base64.b64encode(f"ada:{CANARY}".encode()).decode()},
        ),
        ({"type": "cookie", "cookie": f"session={CANARY}; theme=dark"}, {"Cookie": f"session={CANARY}; theme=dark"}),
        (
            {"type": "cookies", "cookies": [{"name": "session", "value": CANARY}, {"name": "theme", "value": "dark"}]},
            {"Cookie": f"session={CANARY}; theme=dark"},
        ),
        ({"type": "cookies", "cookies": {"session": CANARY, "theme": "dark"}}, {"Cookie": f"session={CANARY}; theme=dark"}),
        ({"type": "api_key", "header": "X-Api-Key", "key": CANARY}, {"X-Api-Key": CANARY}),
        ({"type": "api_key", "cookie": "key", "key": CANARY}, {"Cookie": f"key={CANARY}"}),
    ],
)
def test_target_auth_of_each_type_becomes_headers(facts: dict[str, object], headers: dict[str, str], tmp_path: Path) -> None:
    [auth] = load_target_auth(written(tmp_path, json.dumps({"targets": [{"domain": "shop.internal", **facts}]}), "auth.json"))

    assert auth.headers() == headers
    assert CANARY not in repr(auth)
    assert (CANARY in auth.values()) is bool(headers)


def test_target_auth_with_custom_headers_in_json_is_read(tmp_path: Path) -> None:
    data = {"targets": [{"domain": "shop.internal", "type": "custom_headers", "headers": {"X-Key": f"Token {CANARY}"}}]}

    [auth] = load_target_auth(written(tmp_path, json.dumps(data), "auth.json"))

    assert auth.headers() == {"X-Key": f"Token {CANARY}"}
    assert CANARY in auth.values()


@pytest.mark.parametrize(
    ("facts", "scanned", "given"),
    [
        ({"domain": "shop.internal"}, target(), True),
        ({"domain": "SHOP.internal."}, target(), True),
        ({"domain": "shop.internal:443"}, target(), True),
        ({"domain": "shop.internal:8443"}, target(), False),
        ({"domain": "internal"}, target(), False),
        ({"domain": "shop.internal"}, target("https://shop.internal.evil.example/"), False),
        # The name that is shown is trusted, the address that would get the secret is not.
        ({"domain": "shop.internal"}, target("https://evil.example/", domain="shop.internal"), False),
        ({"url": "https://shop.internal/app"}, target(), True),
        ({"url": "https://shop.internal/app"}, target("https://shop.internal/application"), False),
        ({"url": "http://shop.internal/app"}, target(), False),
        ({"url": "https://shop.internal"}, target("https://user@shop.internal/"), False),
        ({"id": "target-1"}, target(), True),
        ({"id": "target-2"}, target(), False),
        ({"id": "target-1", "domain": "shop.internal"}, target("https://evil.example/"), False),
    ],
)
def test_target_auth_is_given_only_where_it_belongs(facts: dict[str, object], scanned: JobTarget, given: bool, tmp_path: Path) -> None:
    entries = load_target_auth(written(tmp_path, entry(type="bearer", token=CANARY, **facts)))

    assert bool(find_entries(entries, scanned)) is given


def test_target_auth_by_id_wins_over_url_and_domain(tmp_path: Path) -> None:
    places = {"by-domain": {"domain": "shop.internal"}, "by-url": {"url": "https://shop.internal"}, "by-id": {"id": "target-1"}}
    text = "".join(entry(type="bearer", token=token, **facts) for token, facts in places.items())

    [found] = find_entries(load_target_auth(written(tmp_path, text)), target())

    assert found.headers() == {"Authorization": "Bearer by-id"}


@pytest.mark.parametrize(
    "text",
    [
        entry(type="bearer", token=CANARY),
        entry(type="bearer", domain="x", tokn=CANARY),
        entry(type="basic", domain="x", password=CANARY),
        entry(type="magic", domain="x", token=CANARY),
        f"token = {CANARY}",
        entry(type="api_key", domain="x", key=CANARY, query="key"),
        entry(type="api_key", domain="x", key=CANARY),
        entry(type="api_key", domain="x", key=CANARY, header="X-Key", cookie="key"),
        entry(type="api_key", domain="x", key=f"a;{CANARY}", cookie="key"),
        entry(type="bearer", domain="x", token=CANARY, identity="anonymous"),
        entry(type="bearer", domain="x", token=CANARY, identity="two words"),
        entry(type="bearer", domain="x", token=CANARY, logged_in_text=CANARY),
        entry(type="bearer", domain="x", token=CANARY) * 2,
        entry(type="login", domain="x", login_url="/login", username="ada", password=CANARY, token_field="token"),
    ],
)
def test_target_auth_file_with_a_mistake_is_refused_without_quoting_it(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadTargetAuth) as caught:
        load_target_auth(written(tmp_path, text))

    assert CANARY not in str(caught.value)


def test_target_auth_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, entry(type="none", domain="x"), mode=0o640)

    with pytest.raises(ExposedFile):
        load_target_auth(path)


def test_target_auth_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTargetAuth):
        load_target_auth(tmp_path / "absent.toml")


def test_target_auth_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    path.write_bytes(b"\xff")

    with pytest.raises(BadTargetAuth, match="UTF-8"):
        load_target_auth(path)


@pytest.mark.parametrize(
    ("facts", "echoed"),
    [
        ({"type": "custom_headers", "headers": {"X-Key": "key=topsecretkey1; v=2"}}, "topsecretkey1"),
        ({"type": "custom_headers", "headers": {"X-Key": "first-secret,second-secret"}}, "second-secret"),
        ({"type": "custom_headers", "headers": {"Authorization": "Digest username=me, nonce='quoted-nonce'"}}, "quoted-nonce"),
        ({"type": "custom_headers", "headers": {"Cookie": 'a=one-cookie; b="two-cookie"; c=3'}}, "two-cookie"),
        ({"type": "custom_headers", "headers": {"X-Key": "name=left-side=right-side"}}, "right-side"),
        ({"type": "custom_headers", "headers": {"X-Key": "cGFkZGVkLXRva2Vu=="}}, "cGFkZGVkLXRva2Vu"),
        ({"type": "cookie", "cookie": 'sid="quoted-cookie"; b=2'}, "quoted-cookie"),
        ({"type": "bearer", "token": "  spaced-token\n"}, "spaced-token"),
    ],
)
def test_target_auth_value_that_is_echoed_in_part_is_replaced(facts: dict[str, object], echoed: str, tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps({"targets": [{"domain": "x", **facts}]}), "auth.json")
    [found] = load_target_auth(path)

    shown = Redactor(found.values()).text(f"<{echoed}>")

    assert shown == f"<{PLACEHOLDER}>"


def test_target_auth_leaves_names_and_schemes_readable(tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer token-of-the-shop", "Cookie": "sessionid=value-of-the-cookie"}
    text = json.dumps({"targets": [{"domain": "x", "type": "custom_headers", "headers": headers}]})
    [found] = load_target_auth(written(tmp_path, text, "auth.json"))

    shown = Redactor(found.values()).text("Bearer, sessionid")

    assert shown == "Bearer, sessionid"


@pytest.mark.parametrize(
    "facts",
    [
        {"type": "bearer", "token": "canary\nX-More: 1"},
        {"type": "bearer", "token": " \n"},
        {"type": "cookie", "cookie": "canary\x00"},
        {"type": "custom_headers", "headers": {"X-Key": "canary\r\nX-More: 1"}},
        {"type": "custom_headers", "headers": {"Host": "canary"}},
        {"type": "custom_headers", "headers": {"X-Apviso-Identity": "canary"}},
        {"type": "cookies", "cookies": {"session": "canary; other=1"}},
    ],
)
def test_target_auth_value_that_no_header_can_carry_is_refused_without_quoting_it(facts: dict[str, object], tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps({"targets": [{"domain": "x", **facts}]}), "auth.json")

    with pytest.raises(BadTargetAuth) as caught:
        load_target_auth(path)

    assert "canary" not in str(caught.value)


def test_target_auth_key_in_an_address_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    with pytest.raises(BadTargetAuth, match="name a header or a cookie instead"):
        load_target_auth(written(tmp_path, entry(type="api_key", domain="x", key=CANARY, query="key")))


def tokens_by_identity(entries: str, folder: Path, scanned: JobTarget | None = None) -> dict[str, str]:
    found = find_entries(load_target_auth(written(folder, entries)), scanned or target())
    return {one.identity: one.headers()["Authorization"].removeprefix("Bearer ") for one in found}


@pytest.mark.parametrize(
    ("names", "in_order"),
    [(["admin", "user"], ["admin", "user"]), (["user", "default", "admin"], ["default", "user", "admin"])],
    ids=["the first one is the default", "the one called so is the default"],
)
def test_target_auth_with_several_identities_gives_all_with_the_default_first(
    names: list[str], in_order: list[str], tmp_path: Path
) -> None:
    text = "".join(entry(type="bearer", domain="shop.internal", token=f"of-{name}", identity=name) for name in names)

    assert list(tokens_by_identity(text, tmp_path).items()) == [(name, f"of-{name}") for name in in_order]


def test_target_auth_identities_of_a_farther_match_are_left_aside(tmp_path: Path) -> None:
    text = entry(type="bearer", domain="shop.internal", token="by-domain", identity="admin")
    text += entry(type="bearer", url="https://shop.internal", token="by-url", identity="user")

    assert tokens_by_identity(text, tmp_path) == {"user": "by-url"}


def test_target_auth_entry_that_is_added_keeps_what_was_there(tmp_path: Path) -> None:
    awkward = 'quote" back\\slash \x7f ümläut \U0001f511'
    path = written(tmp_path, "# by hand\n" + entry(type="bearer", domain="shop.internal", token=CANARY).rstrip())

    number = add_entry(path, {"domain": "crm.internal", "type": "basic", "username": "ada", "password": awkward})
    add_entry(path, {"domain": "api.internal", "type": "custom_headers", "headers": {"X-Key": "a value"}})

    first, second, third = load_target_auth(path)
    assert (number, first.headers()) == (2, {"Authorization": f"Bearer {CANARY}"})
    assert awkward in second.values()
    assert third.headers() == {"X-Key": "a value"}
    assert path.read_text().startswith("# by hand\n")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["target-auth.toml", "auth.json"])
def test_target_auth_entry_that_is_added_to_no_file_makes_a_private_one(name: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / name

    add_entry(path, {"domain": "shop.internal", "type": "bearer", "token": CANARY})

    [found] = load_target_auth(path)
    assert found.headers() == {"Authorization": f"Bearer {CANARY}"}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "added",
    [
        {"domain": "shop.internal", "type": "bearer", "token": CANARY},
        {"type": "bearer", "token": CANARY},
        {"domain": "x", "type": "magic", "token": CANARY},
    ],
    ids=["is there already", "names no target", "is of no kind"],
)
def test_target_auth_entry_that_cannot_be_added_leaves_the_file_alone(added: dict[str, JsonValue], tmp_path: Path) -> None:
    text = entry(type="bearer", domain="shop.internal", token="of-before")
    path = written(tmp_path, text)

    with pytest.raises(BadTargetAuth) as caught:
        add_entry(path, added)

    assert CANARY not in str(caught.value)
    assert path.read_text() == text
