"""What proves control of a target, word for word: where it is published, and whether what is there is it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from apviso.protocol.verification import DnsTxtInstructions, FileInstructions, MetaTagInstructions
from apviso.server.targets.address import Place, parse_url
from apviso.server.targets.facts import KnownTarget

LABEL = "_apviso-challenge"
NAME = "apviso-challenge"
PATH = "/.well-known/apviso-challenge.txt"


@dataclass(frozen=True)
class Challenge:
    """What has to be seen at `place`, the host and port that scans go to.

    It is the scanned host itself, not a domain above it: where names below a domain are given to others, one of them could be
    the name of the record.
    """

    place: Place
    token: str

    @property
    def value(self) -> str:
        return f"{NAME}={self.token}"

    @property
    def record_name(self) -> str | None:
        """None for an address, which has no records."""
        return None if self.place.address is not None else f"{LABEL}.{self.place.host}"

    @property
    def tag(self) -> str:
        return f'<meta name="{NAME}" content="{self.token}">'

    @property
    def origins(self) -> tuple[str, str]:
        """Encrypted first; both, because a preview may have only one."""
        return f"https://{self.place}", f"http://{self.place}"

    @property
    def file_urls(self) -> list[str]:
        return [f"{origin}{PATH}" for origin in self.origins]

    @property
    def page_urls(self) -> list[str]:
        return [f"{origin}/" for origin in self.origins]

    def is_record(self, texts: list[str]) -> bool:
        return self.value in (text.strip() for text in texts)

    def is_file(self, content: str) -> bool:
        """A line of its own: another target of the same host has another line."""
        return self.value in (line.strip() for line in content.removeprefix("\ufeff").splitlines())


def challenge_of(target: KnownTarget, token: str) -> Challenge:
    """Raises ValueError without a token: nothing may be proved by an empty word."""
    if not token:
        raise ValueError("a target without a token has nothing to show")
    return Challenge(parse_url(target.scan_url).place, token)


def dns_txt(challenge: Challenge) -> DnsTxtInstructions | None:
    if challenge.record_name is None:
        return None
    return DnsTxtInstructions(
        record_name=challenge.record_name,
        record_value=challenge.value,
        text=f"Add a TXT record named {challenge.record_name} with the value {challenge.value} where the domain's records are kept. "
        "Other TXT records of that name may stay. Keep the record: it is looked for again.",
    )


def file(challenge: Challenge) -> FileInstructions:
    return FileInstructions(
        path=PATH,
        content=challenge.value,
        urls=challenge.file_urls,
        text=f"Serve a file at {PATH} on {challenge.place} with the line {challenge.value} and nothing else in that line. It must be "
        "answered with status 200, without credentials and without a redirect to another host. Keep the file: it is looked for again.",
    )


def meta_tag(challenge: Challenge) -> MetaTagInstructions:
    return MetaTagInstructions(
        tag=challenge.tag,
        urls=challenge.page_urls,
        text=f"Put {challenge.tag} into the <head> of the start page of {challenge.place}, before its <body>. The page must be answered "
        "with status 200, without credentials and without a redirect to another host. Keep the tag: it is looked for again.",
    )
