"""One look for a proof: what is one, what is none, and what is never asked. Real name servers, real web servers, no database."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest
from dns import rcode

from apviso.protocol.states import VerificationMethod
from apviso.protocol.verification import VerificationCheck
from apviso.server.targets.address import parse_url
from apviso.server.verification.challenge import PATH, Challenge
from apviso.server.verification.looking import Means, look
from apviso.server.verification.names import MAX_ALIASES, Names
from apviso.server.verification.pages import MAX_REDIRECTS
from tests.scanning.certificates import self_signed
from tests.server.verification.conftest import HOST
from tests.support.names import NameServer, name_server
from tests.support.sites import Site, site

TOKEN = "0123456789abcdef0123456789abcdef"
VALUE = f"apviso-challenge={TOKEN}"
TAG = f'<meta name="apviso-challenge" content="{TOKEN}">'
RECORD = f"_apviso-challenge.{HOST}"
TXT, FILE, META = VerificationMethod
PATIENCE_SECONDS, IMPATIENCE_SECONDS = 5, 0.2
LOOPBACK = ip_network("127.0.0.0/8")


@dataclass
class Stage:
    """What a look meets."""

    names: NameServer
    shop: Site

    async def look(self, method: VerificationMethod, *, networks: bool = True, seconds: float = PATIENCE_SECONDS) -> VerificationCheck:
        """The last place that was looked at."""
        return (await self.checks(method, networks=networks, seconds=seconds))[-1]

    async def checks(
        self, method: VerificationMethod, *, networks: bool = True, seconds: float = PATIENCE_SECONDS, host: str = HOST
    ) -> tuple[VerificationCheck, ...]:
        challenge = Challenge(parse_url(f"http://{host}:{self.shop.port}/start").place, TOKEN)
        looked = await look(Means(Names([self.names.place], seconds), [LOOPBACK] if networks else [], seconds), challenge, method)
        assert (looked.error is None) == any(check.ok for check in looked.checks)
        return looked.checks


@pytest.fixture
def stage(names: NameServer, shop: Site) -> Stage:
    return Stage(names, shop)


# ---- records


@pytest.mark.parametrize(
    "values",
    [
        [f'"{VALUE}"'],
        ['"v=spf1 -all"', f'"{VALUE}"', '"another=word"'],
        # Several strings of one record are one text.
        [f'"{VALUE[:9]}" "{VALUE[9:]}"'],
    ],
)
async def test_record_with_the_value_is_a_proof(stage: Stage, values: list[str]) -> None:
    stage.names.publish(RECORD, "TXT", *values)

    check = await stage.look(TXT)

    assert (check.ok, check.fix, check.looked_at, check.required) == (True, None, f"TXT record {RECORD}", VALUE)


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ([], "there is no such name"),
        (['"apviso-challenge=another"'], '"apviso-challenge=another"'),
        (['"one"', '"two"', '"three"', '"four"', '"five"'], " and 2 more"),
        ([f'"{VALUE}" "and more"'], f'"{VALUE}and more"'),
        (['"\\027[31m\\000"'], '"\\u001b[31m\\u0000"'),
    ],
)
async def test_record_without_the_value_is_told_as_it_was_seen(stage: Stage, values: list[str], seen: str) -> None:
    if values:
        stage.names.publish(RECORD, "TXT", *values)

    check = await stage.look(TXT)

    assert not check.ok
    assert seen in check.seen
    assert seen in check.message
    assert VALUE in str(check.fix)


async def test_record_behind_aliases_is_found_also_where_each_server_answers_for_its_own_zone(stage: Stage) -> None:
    stage.names.publish(RECORD, "CNAME", "challenge.example.net.")
    stage.names.publish("challenge.example.net", "CNAME", "kept.example.org.")
    stage.names.publish("kept.example.org", "TXT", f'"{VALUE}"')

    assert (await stage.look(TXT)).ok


async def test_record_behind_aliases_in_a_circle_is_given_up(stage: Stage) -> None:
    stage.names.publish(RECORD, "CNAME", "round.example.net.")
    stage.names.publish("round.example.net", "CNAME", f"{RECORD}.")

    check = await stage.look(TXT)

    assert (check.ok, check.seen) == (False, f"its aliases lead through more than {MAX_ALIASES} names")
    assert len(stage.names.asked) == MAX_ALIASES


async def test_record_among_many_is_found_over_a_connection(stage: Stage) -> None:
    stage.names.publish(RECORD, "TXT", *(f'"{number:0200}"' for number in range(20)), f'"{VALUE}"')

    assert (await stage.look(TXT)).ok
    assert len(stage.names.asked) == 2


async def test_record_of_another_kind_alone_is_told_as_missing(stage: Stage) -> None:
    stage.names.publish(RECORD, "A", "192.0.2.7")

    assert (await stage.look(TXT)).seen == "the name has no TXT record"


async def test_name_server_that_refuses_or_is_silent_is_told_as_such(stage: Stage) -> None:
    stage.names.says = rcode.REFUSED
    refused = await stage.look(TXT)
    stage.names.is_silent = True
    silent = await stage.look(TXT, seconds=IMPATIENCE_SECONDS)

    assert refused.seen == "the name servers failed or refused to answer"
    assert silent.seen == f"the name servers did not answer within {IMPATIENCE_SECONDS} s"


# ---- files


@pytest.mark.parametrize("content", [VALUE, f"{VALUE}\n", f"\ufeff{VALUE}\r\n", f"apviso-challenge=another\n{VALUE}\n"])
async def test_file_with_the_line_is_a_proof(stage: Stage, content: str) -> None:
    stage.shop.serve(PATH, content)

    check = await stage.look(FILE)

    assert check.ok
    assert stage.shop.asked == [(f"{HOST}:{stage.shop.port}", PATH)]


async def test_file_is_looked_for_encrypted_first_with_any_certificate(stage: Stage, tmp_path: Path) -> None:
    async with site(tls=self_signed(tmp_path)) as shop:
        shop.serve(PATH, VALUE)
        checks = await Stage(stage.names, shop).checks(FILE)

    assert [(check.ok, check.looked_at) for check in checks] == [(True, f"https://{HOST}:{shop.port}{PATH}")]


async def test_file_that_is_missing_is_told_for_both_places(stage: Stage) -> None:
    checks = await stage.checks(FILE)

    assert [check.looked_at.partition(":")[0] for check in checks] == ["https", "http"]
    assert checks[1].seen == "status 404"


@pytest.mark.parametrize("status", ["401 Unauthorized", "500 Oops", "206 Partial Content"])
async def test_file_with_another_status_is_none(stage: Stage, status: str) -> None:
    stage.shop.serve(PATH, VALUE, status)

    assert (await stage.look(FILE)).seen == f"status {status[:3]}"


@pytest.mark.parametrize("page", [f"<html><body>{VALUE}</body></html>", f"you asked for {VALUE}", "\x1b[31m" + "x" * 5000])
async def test_file_with_something_else_is_told_cut_and_harmless(stage: Stage, page: str) -> None:
    stage.shop.serve(PATH, page)

    check = await stage.look(FILE)

    assert not check.ok
    assert check.seen.startswith("a file that begins with ")
    assert check.seen.isprintable()
    assert len(check.message) < 400


async def test_file_that_never_ends_is_read_to_its_bound(stage: Stage) -> None:
    stage.shop.endless.add(PATH)

    assert (await stage.look(FILE)).seen == "a file of more than 64 KiB"


async def test_file_that_is_compressed_unasked_is_not_inflated(stage: Stage) -> None:
    stage.shop.serve(PATH, gzip.compress(VALUE.encode()), Content_Encoding="gzip")

    assert (await stage.look(FILE)).seen == "an answer that is compressed, which was not asked for"


async def test_site_that_does_not_answer_is_given_up(stage: Stage) -> None:
    stage.shop.slow.add(PATH)

    assert (await stage.look(FILE, seconds=IMPATIENCE_SECONDS)).seen == f"no whole answer within {IMPATIENCE_SECONDS} s"


async def test_site_that_speaks_no_http_is_told_without_its_words(stage: Stage) -> None:
    stage.shop.answers[PATH] = b"SSH-2.0-secret\r\n\r\n"

    check = await stage.look(FILE)

    assert check.seen.startswith("no valid answer (")
    assert "secret" not in check.message


async def test_site_that_is_away_is_told_with_its_address(stage: Stage) -> None:
    async with site() as gone:
        pass

    assert (await Stage(stage.names, gone).look(FILE)).seen == "no connection to 127.0.0.1"


# ---- redirects


async def test_redirect_on_the_same_host_is_followed(stage: Stage) -> None:
    stage.shop.redirect(PATH, "/a")
    stage.shop.redirect("/a", f"http://{HOST}:{stage.shop.port}/b")
    stage.shop.redirect("/b", "c")
    stage.shop.serve("/c", VALUE)

    assert (await stage.look(FILE)).ok


async def test_redirects_without_an_end_are_given_up(stage: Stage) -> None:
    stage.shop.redirect(PATH, PATH)

    assert (await stage.look(FILE)).seen == f"more than {MAX_REDIRECTS} redirects"
    assert len(stage.shop.asked) == 1 + MAX_REDIRECTS


@pytest.mark.parametrize(
    "location",
    [
        "http://www.shop.example.com:{port}/proof",
        "http://127.0.0.1:{port}/proof",
        "http://{host}:{other}/proof",
        "http://{host}/proof",
        "http://user@{host}:{port}/proof",
        "ftp://{host}:{port}/proof",
        "//evil.example/proof",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://evil.example/\x1b[31m",
    ],
)
async def test_redirect_elsewhere_is_refused_and_not_followed(stage: Stage, location: str) -> None:
    async with site() as other:
        other.serve("/proof", VALUE)
        stage.shop.serve("/proof", VALUE)
        stage.shop.redirect(PATH, location.format(host=HOST, port=stage.shop.port, other=other.port))

        check = await stage.look(FILE)

    assert not check.ok
    assert check.message.isprintable()
    assert [path for _, path in stage.shop.asked] == [PATH]
    assert other.asked == []


# ---- meta tags


async def test_tag_in_the_head_of_the_start_page_is_a_proof(stage: Stage) -> None:
    stage.shop.serve("/", f"<html><head><title>Shop</title>{TAG}</head><body></body></html>")

    assert (await stage.look(META)).ok


async def test_tag_in_the_head_of_a_long_page_is_a_proof(stage: Stage) -> None:
    stage.shop.serve("/", f"<html><head>{TAG}</head><body>{'x' * 200_000}</body></html>")

    assert (await stage.look(META)).ok


@pytest.mark.parametrize(
    "page",
    [
        f"<html><head></head><body>{TAG}</body></html>",
        f"<html><head><!-- {TAG} --></head></html>",
        f"<html><head><style>{'x' * 70_000}</style>{TAG}</head></html>",
    ],
)
async def test_tag_in_the_body_in_a_comment_or_beyond_the_bound_is_none(stage: Stage, page: str) -> None:
    stage.shop.serve("/", page)

    check = await stage.look(META)

    assert (check.ok, check.required) == (False, TAG)
    assert check.seen.startswith("a page without a meta tag apviso-challenge in its head")


async def test_tag_with_another_content_is_told(stage: Stage) -> None:
    stage.shop.serve("/", '<head><meta name="apviso-challenge" content="<b>other</b>"></head>')

    assert (await stage.look(META)).seen == 'meta tags apviso-challenge with the content "<b>other</b>"'


# ---- addresses


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("A", "169.254.169.254"),
        ("A", "10.0.0.7"),
        ("A", "127.0.0.1"),
        ("AAAA", "::1"),
        ("AAAA", "fd00::7"),
        ("AAAA", "::ffff:169.254.169.254"),
        ("AAAA", "64:ff9b::a00:7"),
    ],
)
@pytest.mark.parametrize("method", [FILE, META])
async def test_name_with_an_internal_address_is_never_asked(stage: Stage, method: VerificationMethod, kind: str, address: str) -> None:
    stage.names.records.clear()
    stage.names.publish(HOST, kind, address)

    (check,) = await stage.checks(method, networks=False)

    assert (check.ok, check.looked_at) == (False, f"address of {HOST}")
    assert check.seen.endswith(", an internal address that the control plane does not ask")
    assert stage.shop.asked == []


async def test_name_with_one_internal_address_among_others_is_never_asked(stage: Stage) -> None:
    stage.names.publish(HOST, "A", "127.0.0.1", "10.0.0.7")

    (check,) = await stage.checks(FILE)

    assert check.seen.startswith("10.0.0.7, an internal address")
    assert stage.shop.asked == []


async def test_address_written_into_the_scan_url_is_judged_as_well(stage: Stage) -> None:
    stage.shop.serve(PATH, VALUE)

    refused = await stage.checks(FILE, networks=False, host="127.0.0.1")
    permitted = await stage.checks(FILE, host="127.0.0.1")

    assert (refused[-1].ok, permitted[-1].ok) == (False, True)


async def test_name_that_means_another_address_a_moment_later_leads_nowhere_else(stage: Stage) -> None:
    stage.names.publish_in_turn(HOST, "A", ["127.0.0.1"], ["10.0.0.7"])
    stage.shop.redirect(PATH, "/proof")
    stage.shop.serve("/proof", VALUE)

    assert (await stage.look(FILE)).ok
    assert stage.names.asked.count((HOST, "A")) == 1


async def test_name_without_an_address_is_told(stage: Stage) -> None:
    stage.names.records.clear()
    stage.names.publish(HOST, "TXT", '"hello"')

    assert (await stage.look(FILE)).seen == "the name has no A record"


async def test_aliases_of_a_host_are_followed_to_its_address(stage: Stage) -> None:
    stage.names.records.clear()
    stage.names.publish(HOST, "CNAME", "edge.example.net.")
    stage.names.publish("edge.example.net", "A", "127.0.0.1")
    stage.shop.serve(PATH, VALUE)

    assert (await stage.look(FILE)).ok


async def test_second_name_server_answers_where_the_first_refuses(stage: Stage) -> None:
    stage.names.publish(RECORD, "TXT", f'"{VALUE}"')
    async with name_server() as first:
        first.says = rcode.REFUSED

        assert await Names([first.place, stage.names.place], PATIENCE_SECONDS).texts(RECORD) == [VALUE]
