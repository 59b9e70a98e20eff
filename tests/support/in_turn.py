"""Questions that leave no trace, put one after the other to one control plane: to start another one for each costs more than to ask."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import wraps
from typing import Any

AsyncTest = Callable[..., Coroutine[Any, Any, None]]


def in_turn(names: str | Sequence[str], cases: Collection[Any]) -> Callable[[AsyncTest], AsyncTest]:
    """As `pytest.mark.parametrize`, in one test that ends at the first case that fails, and names it.

    Only for a test that finds each time what it found before.
    """
    several = [names] if isinstance(names, str) else list(names)
    assert cases

    def decorate(test: AsyncTest) -> AsyncTest:
        @wraps(test)
        async def ask_each(**fixtures: Any) -> None:
            for case in cases:
                values = [case] if isinstance(names, str) else case
                try:
                    await test(**fixtures, **dict(zip(several, values, strict=True)))
                except BaseException as error:
                    error.add_note(f"case {case!r}")
                    raise

        signature = inspect.signature(test)
        left = [parameter for name, parameter in signature.parameters.items() if name not in several]
        assert len(left) == len(signature.parameters) - len(several), "each name is a parameter of the test"
        ask_each.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return ask_each

    return decorate
