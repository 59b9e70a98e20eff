"""A small Internet of its own, run inside a network namespace: a name server, sites at public addresses, and a control plane that uses
the host's own name servers and the usual ports. Prints what came of each try.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from apviso.server.settings import Settings
from tests.scanning.certificates import self_signed
from tests.support.clock import Clock
from tests.support.control_plane import running
from tests.support.names import name_server
from tests.support.people import Organization
from tests.support.sites import site

# Addresses for documentation (RFC 5737): public by every rule, and nobody's.
NAMES, SHOP, OTHER, METADATA = "203.0.113.53", "203.0.113.10", "203.0.113.11", "169.254.169.254"
HOST = "shop.example.com"
PATH = "/.well-known/apviso-challenge.txt"


def make_network(resolver: Path) -> None:
    """Loopback carries all addresses; the host's configuration of names is covered by one of ours, for this process alone."""
    resolver.write_text(f"nameserver {NAMES}\n")
    commands = ["ip link set lo up", *(f"ip addr add {address}/32 dev lo" for address in (NAMES, SHOP, OTHER, METADATA))]
    for command in [*commands, f"mount --bind {resolver} /etc/resolv.conf"]:
        subprocess.run(command.split(), check=True, timeout=10)


async def tries(acme: Organization, target: dict[str, Any], *methods: str) -> list[dict[str, Any]]:
    answers = [await acme.post(f"/targets/{target['id']}/verify", {"method": method}) for method in methods]
    return [{"status": answer.status_code, **answer.json()} for answer in answers]


async def told(acme: Organization, target: dict[str, Any]) -> dict[str, Any]:
    answer = await acme.get(f"/targets/{target['id']}/verify/instructions")
    instructions: dict[str, Any] = answer.raise_for_status().json()["instructions"]
    return instructions


async def visit(folder: Path) -> dict[str, Any]:
    settings = Settings(data_dir=folder / "data", housekeeping_interval_seconds=60, verification_timeout_seconds=5)
    async with (
        name_server(NAMES, 53) as names,
        site(SHOP, 443, self_signed(folder)) as encrypted,
        site(SHOP, 80) as plain,
        site(OTHER, 80) as other,
        site(METADATA, 80) as metadata,
        running(settings, Clock()) as plane,
    ):
        acme = await plane.organization("Acme")
        shop, stolen, mixed = [await acme.target(name, "public") for name in (HOST, "stolen.example.com", "mixed.example.com")]
        word = await told(acme, shop)
        names.publish(HOST, "A", SHOP)
        names.publish("stolen.example.com", "A", METADATA)
        names.publish("mixed.example.com", "A", SHOP, "127.0.0.1")
        names.publish(word["dnsTxt"]["recordName"], "TXT", f'"{word["dnsTxt"]["recordValue"]}"')
        metadata.serve(PATH, (await told(acme, stolen))["file"]["content"])
        came: dict[str, Any] = {"record": await tries(acme, shop, "dns_txt")}

        encrypted.serve("/", f"<html><head>{word['metaTag']['tag']}</head></html>")
        plain.redirect("/", f"https://{HOST}/")
        came["tag"] = await tries(acme, shop, "meta_tag")

        plain.serve(PATH, word["file"]["content"])
        came["file"] = await tries(acme, shop, "file")

        # To another host, which has the proof, and to an internal address.
        plain.redirect(PATH, f"http://other.example.com{PATH}")
        names.publish("other.example.com", "A", OTHER)
        other.serve(PATH, word["file"]["content"])
        came["redirected"] = await tries(acme, shop, "file")
        plain.redirect(PATH, f"http://{METADATA}{PATH}")
        came["redirected inside"] = await tries(acme, shop, "file")

        # The name means something else after it was judged.
        names.publish_in_turn(HOST, "A", [SHOP], [METADATA])
        plain.serve(PATH, word["file"]["content"])
        came["rebound"] = await tries(acme, shop, "file")
        came["rebound again"] = await tries(acme, shop, "file")

        came["stolen"] = await tries(acme, stolen, "file", "meta_tag")
        came["mixed"] = await tries(acme, mixed, "file")
        came["asked"] = {"other": other.asked, "metadata": metadata.asked, "plain": plain.asked}
        return came


def main() -> None:
    folder = Path(sys.argv[1])
    make_network(folder / "resolv.conf")
    sys.stdout.write(json.dumps(asyncio.run(visit(folder))))


if __name__ == "__main__":
    main()
