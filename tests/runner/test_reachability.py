"""Asking a target whether it is there."""

from __future__ import annotations

import httpx2

from apviso.runner.reachability import probe
from tests.runner.target_application import TargetApplication


async def test_probe_with_judged_addresses_dials_them_whatever_the_name_stands_for(application: TargetApplication) -> None:
    port = httpx2.URL(application.url).port

    answer = await probe(f"http://shop.invalid:{port}/", {}, ["127.0.0.1"])

    assert (answer.problem, answer.status) == (None, 200)


async def test_probe_tries_every_judged_address_until_one_answers(application: TargetApplication) -> None:
    port = httpx2.URL(application.url).port

    answer = await probe(f"http://shop.invalid:{port}/", {}, ["::1", "127.0.0.1"])

    assert answer.problem is None


async def test_probe_of_a_name_that_stands_for_nothing_says_so() -> None:
    answer = await probe("http://shop.invalid:9/", {})

    assert answer.problem is not None
