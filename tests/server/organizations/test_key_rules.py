"""Who may give which scopes to a key."""

from __future__ import annotations

import pytest

from apviso.protocol.states import Scope
from apviso.protocol.wire import OrganizationId
from apviso.server.access import Caller
from apviso.server.errors import InsufficientScope
from apviso.server.organizations.keys import check_grant


def caller(*scopes: Scope) -> Caller:
    return Caller(OrganizationId("acme"), "key-1", "a1b2c3d4e5f6", frozenset(scopes), "request-1")


@pytest.mark.parametrize(
    ("own", "given"),
    [
        ([Scope.ADMIN], list(Scope)),
        ([Scope.RUNNERS_ALL], [Scope.RUNNERS_READ, Scope.RUNNERS_WRITE, Scope.RUNNERS_ALL]),
        ([Scope.SCANS_READ], [Scope.SCANS_READ]),
    ],
)
def test_grant_of_what_the_caller_has_is_allowed(own: list[Scope], given: list[Scope]) -> None:
    assert [scope for scope in given if not caller(*own).may(scope)] == []
    check_grant(caller(*own), given)


@pytest.mark.parametrize(
    ("own", "given", "lacking"),
    [
        ([Scope.RUNNERS_ALL], [Scope.ADMIN], "admin"),
        ([Scope.RUNNERS_READ, Scope.RUNNERS_WRITE], [Scope.RUNNERS_ALL], "runners:*"),
        ([Scope.SCANS_ALL], [Scope.SCANS_READ, Scope.TARGETS_READ], "targets:read"),
    ],
)
def test_grant_of_more_than_the_caller_has_is_refused(own: list[Scope], given: list[Scope], lacking: str) -> None:
    with pytest.raises(InsufficientScope) as refused:
        check_grant(caller(*own), given)

    assert refused.value.members == {"required": lacking}
