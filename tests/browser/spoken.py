"""A runner that takes the scans that name it, and finds what a test wants to see on a page."""

from __future__ import annotations

from typing import Any

from tests.browser.hand import Hand
from tests.end_to_end.installation import Installation


class SpokenRunner:
    """It takes no other scans."""

    def __init__(self, installation: Installation, name: str) -> None:
        self._installation = installation
        self._hand = Hand(installation, name).enroll()

    def scan(self, domain: str, *flaws: dict[str, Any]) -> str:
        """Scan a new target, and find this; the target's id."""
        target = self._installation.call("POST", "/targets", {"domain": domain, "visibility": "private_internal"})["target"]
        self._installation.call("POST", "/scans", {"targetId": target["id"], "runnerId": self._hand.id, "whenUnavailable": "queue"})
        self._hand.take()
        self._hand.say(*({"type": "finding", "finding": one} for one in flaws))
        self._hand.end()
        return str(target["id"])

    def revoke(self) -> None:
        self._installation.call("DELETE", f"/runners/{self._hand.id}")


def flaw(title: str, severity: str = "high", **more: Any) -> dict[str, Any]:
    return {"title": title, "severity": severity, "url": f"https://shop.internal/{title.replace(' ', '-')}", **more}
