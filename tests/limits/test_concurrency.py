"""Calls at once."""

from neuroroute.limits.concurrency import Cap, Concurrency, Slot


def test_a_full_cap_refuses_and_takes_nothing() -> None:
    running = Concurrency()
    key, user = Cap("key", "k", 2), Cap("user", "u", 5)
    slots = [running.take([user, key]) for _ in range(2)]
    assert all(isinstance(slot, Slot) for slot in slots)
    assert running.take([user, key]) is key
    assert running.running("user", "u") == 2


def test_a_slot_is_given_back_once() -> None:
    running = Concurrency()
    cap = Cap("key", "k", 2)
    first, second = running.take([cap]), running.take([cap])
    assert isinstance(first, Slot)
    assert isinstance(second, Slot)
    first.release()
    first.release()
    assert running.running("key", "k") == 1
    second.release()
    assert running.running("key", "k") == 0


def test_subjects_of_different_scopes_are_different() -> None:
    running = Concurrency()
    assert isinstance(running.take([Cap("key", "same", 1)]), Slot)
    assert isinstance(running.take([Cap("user", "same", 1)]), Slot)
