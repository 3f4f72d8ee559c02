import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.decisions import TOKEN_CHARS, BadToken, Decision, Keyring, Mode

KEYS = [("k1", b"0123456789abcdef"), ("k2", b"fedcba9876543210" * 6)]

decisions = st.builds(
    Decision,
    mode=st.sampled_from(Mode),
    segment=st.integers(0, 255),
    epoch=st.integers(0, 2**64 - 1),
    arm=st.integers(0, 2**16 - 1),
    parts=st.integers(0, 2**31),
    weights_version=st.integers(0, 2**32 - 1),
    block=st.integers(0, 2**32 - 1),
    time_us=st.integers(0, 2**64 - 1),
    rows=st.integers(0, 2**32 - 1),
    nonce=st.binary(min_size=16, max_size=16),
)


@given(decisions)
def test_what_was_signed_is_what_is_read(decision: Decision) -> None:
    token = Keyring(KEYS).sign(decision)

    assert len(token) == TOKEN_CHARS < 110
    assert Keyring(KEYS).verify(token) == decision


@settings(max_examples=500)
@given(decisions, st.integers(0, TOKEN_CHARS - 1), st.characters(codec="ascii"))
def test_no_altered_character_is_accepted(decision: Decision, place: int, character: str) -> None:
    keys = Keyring(KEYS)
    token = keys.sign(decision)
    altered = token[:place] + character + token[place + 1 :]

    if altered == token:
        return
    with pytest.raises(BadToken):
        keys.verify(altered)


@pytest.mark.parametrize("text", ["", "x", "é" * TOKEN_CHARS, "=" * TOKEN_CHARS, "A" * TOKEN_CHARS, "A" * 10_000])
def test_garbage_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadToken, match="decision token"):
        Keyring(KEYS).verify(text)


def test_after_a_rotation_the_old_key_still_verifies_and_the_new_one_signs() -> None:
    decision = Decision(Mode.EXPERIMENT, 0, 7, 1, 2**30, 3, 4, 5, 1, bytes(16))
    old, rotated, without = Keyring(KEYS[:1]), Keyring(KEYS[::-1]), Keyring(KEYS[1:])

    assert rotated.verify(old.sign(decision)) == decision
    assert without.verify(rotated.sign(decision)) == decision
    with pytest.raises(BadToken):
        without.verify(old.sign(decision))


def test_only_decisions_of_an_experiment_or_an_observation_are_learned() -> None:
    decision = Decision(Mode.EXPERIMENT, 0, 7, 1, 2**30, 3, 4, 5, 1, bytes(16))

    learned = [mode for mode in Mode if decision._replace(mode=mode).is_learned]

    assert learned == [Mode.EXPERIMENT, Mode.OBSERVE]


def test_a_request_id_gives_the_same_point_on_every_gateway_and_none_without_the_key() -> None:
    here, there, stranger = Keyring(KEYS), Keyring(KEYS), Keyring(KEYS[1:])

    assert here.point(1, b"request", b"abc") == there.point(1, b"request", b"abc")
    assert here.point(1, b"request", b"abc") != stranger.point(1, b"request", b"abc")
    assert here.point(1, b"request", b"abc") != here.point(2, b"request", b"abc")
    assert here.point(1, b"request", b"abc") != here.point(1, b"unit", b"abc")


def test_keys_that_can_not_sign_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Keyring([])
    with pytest.raises(ValueError, match="at least 16"):
        Keyring([("k1", b"short")])
