"""What is kept of identity's answers, for how long, and how much."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from contracts.errors import Refused
from gateway import remembering
from gateway.remembering import Remembered


@dataclass
class Identity:
    answers: Mapping[str, str] = field(default_factory=dict)
    refusal: str = "TOKEN_INVALID"
    asked: list[str] = field(default_factory=list)
    now: float = 0.0

    async def ask(self, key: str) -> str:
        self.asked.append(key)
        await asyncio.sleep(0)
        if key not in self.answers:
            raise Refused(self.refusal)
        return self.answers[key]

    def remembered(self) -> Remembered[str, str]:
        return Remembered[str, str](self.ask, lambda: self.now)


async def refused(known: Remembered[str, str], key: str) -> str:
    with pytest.raises(Refused) as error:
        await known.get(key)
    return error.value.code


async def test_many_who_ask_within_a_second_cost_one_question() -> None:
    identity = Identity({"a": "anna"})
    known = identity.remembered()
    await asyncio.gather(*(known.get("a") for _ in range(20)))
    identity.now = 0.9
    assert await known.get("a") == "anna"
    assert identity.asked == ["a"]


async def test_a_change_is_noticed_after_a_second() -> None:
    identity = Identity({"a": "anna"})
    known = identity.remembered()
    await known.get("a")
    identity.answers, identity.now = {}, 1.0
    assert await refused(known, "a") == "TOKEN_INVALID"


async def test_a_stranger_costs_one_question_a_second() -> None:
    identity = Identity()
    known = identity.remembered()
    assert [await refused(known, "x") for _ in range(3)] == ["TOKEN_INVALID"] * 3
    assert identity.asked == ["x"]
    identity.now = 1.0
    await refused(known, "x")
    assert identity.asked == ["x", "x"]


async def test_what_is_no_answer_about_the_token_is_not_kept() -> None:
    identity = Identity(refusal="SERVICE_TIMEOUT")
    known = identity.remembered()
    assert [await refused(known, "x"), await refused(known, "x")] == ["SERVICE_TIMEOUT"] * 2
    assert identity.asked == ["x", "x"]


async def test_a_flood_of_strangers_fills_no_memory_and_pushes_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "MOST", 10)
    identity = Identity({"a": "anna"})
    known = identity.remembered()
    await known.get("a")
    for number in range(100):
        await refused(known, str(number))
    assert len(known._denied) <= 10
    assert not known._asking
    await known.get("a")
    assert identity.asked.count("a") == 1
