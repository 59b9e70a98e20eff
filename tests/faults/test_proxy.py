"""The faulty wire does what its troubles are called, or nothing that is seen behind it would mean anything."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.faults.background import Background
from tests.faults.issuer import Issuer
from tests.faults.proxy import Trouble, Wire
from tests.faults.watched_site import WatchedSite

QUESTION = "/?scan=s&attempt=1&who=w&number=1"


@pytest.fixture
def background() -> Iterator[Background]:
    with Background() as made:
        yield made


@pytest.fixture
def site(background: Background) -> Iterator[WatchedSite]:
    made = WatchedSite(background)
    yield made
    made.close()


@pytest.fixture
def wire(background: Background, site: WatchedSite, tmp_path: Path) -> Iterator[Wire]:
    made = Wire(background, [site.port], Issuer(tmp_path, "own"), Issuer(tmp_path, "foreign"), "seed")
    yield made
    made.close()


@pytest.fixture
def client(wire: Wire, tmp_path: Path) -> Iterator[httpx2.Client]:
    trusted = ssl.create_default_context(cafile=tmp_path / "own-authority.pem")
    with httpx2.Client(base_url=wire.url, verify=trusted, trust_env=False, timeout=5) as made:
        yield made


@pytest.mark.parametrize(
    ("trouble", "status", "kind", "touches"),
    [
        (Trouble.NONE, 200, "text/html", 1),
        (Trouble.DELAY, 200, "text/html", 1),
        (Trouble.DUPLICATE, 200, "text/html", 2),
        (Trouble.HTML_PAGE, 200, "text/html", 0),
        (Trouble.PROXY_LOGIN, 407, "", 0),
    ],
)
def test_wire_that_answers_asks_the_other_side_as_often_as_its_trouble_says(
    wire: Wire, site: WatchedSite, client: httpx2.Client, trouble: Trouble, status: int, kind: str, touches: int
) -> None:
    with wire.troubled(trouble):
        answer = client.get(QUESTION, headers={"Authorization": "Bearer apvr_0123456789ab_" + "s" * 43})

    assert (answer.status_code, answer.headers.get("content-type", ""), len(site.touches)) == (status, kind, touches)
    assert [(one.path, one.status, one.trouble) for one in wire.exchanges] == [(QUESTION, 200 if touches else None, trouble)]
    assert wire.secrets == {b"s" * 43}


@pytest.mark.parametrize(
    ("trouble", "touches"), [(Trouble.CUT, 1), (Trouble.LOSE_ANSWER, 1), (Trouble.BLACK_HOLE, 0), (Trouble.FOREIGN_TLS, 0)]
)
def test_wire_that_gives_no_answer_lets_through_what_its_trouble_says_and_is_mended(
    wire: Wire, site: WatchedSite, client: httpx2.Client, trouble: Trouble, touches: int
) -> None:
    with wire.troubled(trouble), pytest.raises(httpx2.TransportError):
        client.get(QUESTION, timeout=0.5 if trouble is Trouble.BLACK_HOLE else 5)
    seen = len(site.touches)

    answer = client.get(QUESTION)

    assert (seen, answer.status_code, len(site.touches)) == (touches, 200, touches + 1)


def test_wire_that_half_closes_gives_no_whole_answer(wire: Wire, client: httpx2.Client) -> None:
    with wire.troubled(Trouble.HALF_CLOSE):
        for _ in range(4):
            with pytest.raises(httpx2.TransportError):
                client.get(QUESTION)
