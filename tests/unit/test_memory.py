from __future__ import annotations

from apviso.protocol.wire import RunnerId
from apviso.server.memory import Memory

ONE, TWO = RunnerId("one"), RunnerId("two")


def test_what_was_forgotten_while_it_was_read_is_not_remembered() -> None:
    memory: Memory[str, str] = Memory()
    moment = memory.moment
    memory.forget(ONE)

    memory.remember("prefix", ONE, "read before", moment)
    memory.remember("prefix-of-two", TWO, "read", memory.moment)

    assert (memory.find("prefix"), memory.find("prefix-of-two")) == (None, "read")


def test_forgetting_a_runner_forgets_each_of_its_tokens_and_nobody_else() -> None:
    memory: Memory[str, str] = Memory()
    for prefix, runner in (("a", ONE), ("b", ONE), ("c", TWO)):
        memory.remember(prefix, runner, prefix, memory.moment)

    memory.forget(ONE)

    assert [memory.find(prefix) for prefix in "abc"] == [None, None, "c"]


def test_moment_from_before_everyone_was_forgotten_is_over() -> None:
    memory: Memory[str, str] = Memory()
    moment = memory.moment
    memory.forget_everyone()

    memory.remember("a", ONE, "old", moment)

    assert memory.find("a") is None


def test_memory_stays_within_its_bound() -> None:
    memory: Memory[int, str] = Memory(most=3)

    for number in range(10):
        memory.remember(str(number), RunnerId(str(number)), number, memory.moment)

    assert [number for number in range(10) if memory.find(str(number)) is not None] == [9]


def test_runners_that_came_and_went_are_not_kept_for_ever() -> None:
    memory: Memory[int, str] = Memory(most=3)
    before = memory.moment

    for number in range(4):
        memory.forget(RunnerId(str(number)))
    memory.remember("prefix", ONE, 1, before)

    # Who was forgotten is not known any more, so nobody is remembered who was read before.
    assert memory.find("prefix") is None


def test_unwritten_is_taken_once_and_what_is_given_back_replaces_nothing_newer() -> None:
    memory: Memory[str, str] = Memory()
    memory.note("a", ONE, "known", "first of one")
    memory.note("b", TWO, "known", "first of two")
    taken = memory.take_unwritten()
    memory.note("a", ONE, "known", "second of one")

    memory.give_back(taken)

    assert memory.take_unwritten() == {ONE: "second of one", TWO: "first of two"}
    assert memory.take_unwritten() == {}
