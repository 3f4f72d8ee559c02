"""Events: one list in the store, numbered, which a reader follows from where it was."""

import msgspec

from bandits.life import Note
from router import events
from router.store.memory import MemoryStore

NOTES = tuple(Note(float(number), "phase", "a", "b", f"why {number}", {"n": float(number)}) for number in range(5))


async def filled(count: int = 5) -> MemoryStore:
    store = MemoryStore()
    await store.open()
    for number in range(count):
        note = NOTES[number % 5]
        await store.save_experiment("digits", b"{}", number, None, events.told("digits", [note]))
    return store


async def test_each_note_is_told_in_its_history_and_as_an_event() -> None:
    store = await filled()

    assert [msgspec.json.decode(one)["why"] for one in await store.history("digits", 9)] == [n.why for n in NOTES]
    told = [msgspec.json.decode(one) for one in await store.history(events.EVENTS, 9)]
    assert [(one["kind"], one["experiment"], one["at"], one["numbers"]) for one in told] == [
        ("history", "digits", note.now, note.numbers) for note in NOTES
    ]


async def test_reader_gets_what_came_after_its_number() -> None:
    store = await filled()

    assert await events.newest(store) == 5
    assert [number for number, _ in await events.since(store, 2) or ()] == [3, 4, 5]
    assert await events.since(store, 5) == []
    assert [number for number, _ in await events.since(store, 0) or ()] == [1, 2, 3, 4, 5]


async def test_number_of_another_store_and_one_too_old_are_told_apart_from_nothing_new() -> None:
    store = await filled(events.CAUGHT_UP_MAX + 2)

    assert await events.since(store, events.CAUGHT_UP_MAX + 3) is None
    assert await events.since(store, 1) is None
    assert len(await events.since(store, 2) or ()) == events.CAUGHT_UP_MAX


async def test_numbers_are_right_with_none_and_one() -> None:
    assert await events.newest(await filled(0)) == 0
    assert await events.since(await filled(0), 0) == []
    assert [number for number, _ in await events.since(await filled(1), 0) or ()] == [1]
