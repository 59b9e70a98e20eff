"""Methods that are written once and are there twice: on a `Client` they answer, on an `AsyncClient` they are awaited.

A resource's method says which call it is; the descriptors below hand it to whichever client the resource belongs to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from apviso.client.calls import Call
from apviso.client.following import Following
from apviso.client.listing import Listing

P = ParamSpec("P")
T = TypeVar("T")
Way = TypeVar("Way")
# Several calls, one after the other: each is yielded, its answer sent back, and what is returned is the result.
Steps = Generator[Call[Any], Any, T]


class Blocking:
    """The way of a `Client`."""


class Awaited:
    """The way of an `AsyncClient`."""


class Transport(Protocol):
    """What both clients do, each in its way."""

    def perform(self, call: Call[Any]) -> Any: ...
    def take(self, steps: Steps[Any]) -> Any: ...
    def each(self, listing: Listing[Any, Any]) -> Any: ...
    def follow(self, following: Following) -> Any: ...


class Resource(Generic[Way]):
    """One part of the API, as one client has it."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport


class _Method(Generic[P, T]):
    """`verb` names the transport's method that takes what is built."""

    verb: str

    def __init__(self, build: Callable[Concatenate[Any, P], T]) -> None:
        self.build = build
        self.__doc__ = build.__doc__

    def bound_to(self, resource: Resource[Any]) -> Callable[P, Any]:
        @wraps(self.build)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return getattr(resource.transport, self.verb)(self.build(resource, *args, **kwargs))

        return method


class Endpoint(_Method[P, Call[T]]):
    """A method that is one call."""

    verb = "perform"

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...
    @overload
    def __get__(self, resource: Resource[Blocking], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, resource: Resource[Awaited], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: type) -> Any:
        return self if resource is None else self.bound_to(resource)


class Walk(_Method[P, Steps[T]]):
    """A method that is several calls with one result."""

    verb = "take"

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...
    @overload
    def __get__(self, resource: Resource[Blocking], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, resource: Resource[Awaited], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: type) -> Any:
        return self if resource is None else self.bound_to(resource)


class Each(_Method[P, Listing[Any, T]]):
    """A method that goes through all pages of a list."""

    verb = "each"

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...
    @overload
    def __get__(self, resource: Resource[Blocking], owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, resource: Resource[Awaited], owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: type) -> Any:
        return self if resource is None else self.bound_to(resource)


class Follow(_Method[P, Following]):
    """A method that tells events as they come."""

    verb = "follow"

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...
    @overload
    def __get__(self, resource: Resource[Blocking], owner: type) -> Callable[P, Iterator[dict[str, Any]]]: ...
    @overload
    def __get__(self, resource: Resource[Awaited], owner: type) -> Callable[P, AsyncIterator[dict[str, Any]]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: type) -> Any:
        return self if resource is None else self.bound_to(resource)
