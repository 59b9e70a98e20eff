"""Tells the operator's own services (e-mail, Slack and many others) through Apprise, which the extra `apviso[notify]` brings."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import logging
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from apviso.server.webhooks.facts import Outcome

# A service has its own time-outs, for each of the calls that it makes.
TOTAL_SECONDS = 30.0
MOST_LINES, LONGEST_LINE = 20, 500


class CannotNotify(Exception):
    """The services are not usable; the message never quotes one, which holds a password."""


def address_of(url: str, events: Sequence[str]) -> str:
    """What a service with these wishes is known by in the database: its URL holds a password and is not kept."""
    known = "\n".join([url, *events])
    return f"notify:{hashlib.sha256(known.encode()).hexdigest()[:32]}"


def title_and_text(body: str) -> tuple[str, str]:
    """The words of a message for people."""
    told = json.loads(body)
    data: dict[str, Any] = told["data"]
    name = data.get("name") or data.get("title") or data.get("scanId") or data.get("runnerId")
    lines = [f"{field}: {value}"[:LONGEST_LINE] for field, value in data.items() if isinstance(value, str | int | float | list)]
    title = told["type"] if name is None else f"{told['type']}: {name}"
    return title[:LONGEST_LINE], "\n".join([f"at: {told['timestamp']}", *lines[:MOST_LINES]])


class Services:
    """The operator's services by their address."""

    def __init__(self, urls: Sequence[str], events: Sequence[str]) -> None:
        self._apprise = _library() if urls else None
        self._services: dict[str, Any] = {}
        for number, url in enumerate(urls, 1):
            assert self._apprise is not None
            service = self._apprise.Apprise.instantiate(url)
            if service is None:
                raise CannotNotify(f"Entry {number} of APVISO_NOTIFY_URLS is no address that Apprise understands.")
            self._services[address_of(url, events)] = service

    async def send(self, address: str, body: str) -> Outcome:
        service = self._services.get(address)
        if service is None or self._apprise is None:
            return Outcome("This service is not configured any more.")
        title, text = title_and_text(body)
        form = self._apprise.NotifyFormat.TEXT
        kind = f"The service {service.service_name}"
        messenger = self._apprise.Apprise()
        messenger.add(service)
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                taken = await messenger.async_notify(title=title, body=text, body_format=form)
        except TimeoutError:
            return Outcome(f"{kind} did not answer within {TOTAL_SECONDS:g} s.")
        except Exception as error:  # noqa: BLE001  # whatever a service's own code does, the message is tried again
            return Outcome(f"{kind} failed: {type(error).__name__}.")
        return Outcome(None if taken else f"{kind} did not take the message.")


def _library() -> ModuleType:
    try:
        library = importlib.import_module("apprise")
    except ImportError as error:
        raise CannotNotify("APVISO_NOTIFY_URLS needs Apprise: install apviso[notify].") from error
    # Its own words may name the address of a service, which holds a password.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    return library
