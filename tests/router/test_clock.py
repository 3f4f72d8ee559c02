"""How much time the process gets, as the kernel tells it."""

from router.clock import wanted_s


def test_a_thread_that_runs_wants_time() -> None:
    before = wanted_s()
    # It is the first thread that runs this test.
    while wanted_s() < before + 0.01:
        pass

    assert wanted_s() >= before + 0.01
