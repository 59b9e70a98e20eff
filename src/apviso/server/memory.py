"""What one process remembers of the runners that call it, and what it has answered and not written yet. Knows no rule."""

from __future__ import annotations

from typing import Generic, TypeVar

from apviso.protocol.wire import RunnerId

Known = TypeVar("Known")
Unwritten = TypeVar("Unwritten")


class Memory(Generic[Known, Unwritten]):
    """By the prefix of a runner's token. Whatever changes a runner elsewhere sends its topic, and `forget` is called, in every process."""

    def __init__(self, most: int = 50_000) -> None:
        self._most = most
        self._known: dict[str, Known] = {}
        self._prefixes: dict[RunnerId, set[str]] = {}
        # When whom was forgotten, counted in forgettings.
        self._forgotten: dict[RunnerId, int] = {}
        self._everyone_forgotten = 0
        self._forgettings = 0
        self._unwritten: dict[RunnerId, Unwritten] = {}

    def __len__(self) -> int:
        return len(self._prefixes)

    @property
    def unwritten(self) -> int:
        """How many runners wait to be written."""
        return len(self._unwritten)

    def find(self, prefix: str) -> Known | None:
        return self._known.get(prefix)

    @property
    def moment(self) -> int:
        """To be taken before runners are read, and given back with what was read: in between one may have to be forgotten."""
        return self._forgettings

    def remember(self, prefix: str, runner_id: RunnerId, known: Known, moment: int) -> None:
        if moment < max(self._everyone_forgotten, self._forgotten.get(runner_id, 0)):
            return
        if len(self._known) >= self._most and prefix not in self._known:
            self.forget_everyone()
        self._known[prefix] = known
        self._prefixes.setdefault(runner_id, set()).add(prefix)

    def note(self, prefix: str, runner_id: RunnerId, known: Known, unwritten: Unwritten) -> None:
        """What is known has moved on, and a row has to follow."""
        self._known[prefix] = known
        self._unwritten[runner_id] = unwritten

    def forget(self, runner_id: RunnerId) -> None:
        """The runner's next call takes the documented way. What is not written yet is written all the same."""
        if len(self._forgotten) >= self._most:
            # Runners come and go: whom they once were is no reason to grow.
            self.forget_everyone()
        self._forgettings += 1
        self._forgotten[runner_id] = self._forgettings
        for prefix in self._prefixes.pop(runner_id, ()):
            self._known.pop(prefix, None)

    def forget_everyone(self) -> None:
        self._forgettings += 1
        self._everyone_forgotten = self._forgettings
        self._known.clear()
        self._prefixes.clear()
        self._forgotten.clear()

    def take_unwritten(self) -> dict[RunnerId, Unwritten]:
        """The latest of each runner; whoever could not write them gives them back."""
        taken, self._unwritten = self._unwritten, {}
        return taken

    def give_back(self, unwritten: dict[RunnerId, Unwritten]) -> None:
        self._unwritten = unwritten | self._unwritten
