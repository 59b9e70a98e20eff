"""What a person is told who asked for something about users that cannot be done. Pages show it; the HTTP API has none of this."""

from __future__ import annotations


class Declined(Exception):
    """`field` is the field of a form that it is about, where there is one."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class NotPermitted(Declined):
    """Somebody else may."""


class NotThere(Declined):
    """No such user in the organization."""
