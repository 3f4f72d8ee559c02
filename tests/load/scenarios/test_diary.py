"""When the client was answered, and what a server's log says: the two that a story holds against each other."""

from load.demo.senders import Answer
from load.scenarios.diary import Diary, Noting
from load.scenarios.servers import changes

LOG = """\
2026-11-29 03:00:01,500 INFO serving.local.models: model digits version 2: LOADING
2026-11-29 03:00:02,750 INFO serving.local.models: model digits version 2: AVAILABLE
2026-11-29 03:00:03,000 INFO serving.local.models: model other version 2: UNLOADING
2026-11-29 03:00:03,000 ERROR serving.local.models: model digits version 3: load failed: no such file
Traceback (most recent call last):
"""


class Fixed:
    """Answers as v1."""

    async def predict(self, image: int) -> Answer:
        return Answer(image, "v1", "token")


async def test_diary_tells_the_first_answer_since_a_time_and_the_last() -> None:
    now = [0.0]
    diary = Diary(lambda: now[0])
    sender = Noting(Fixed(), diary)

    for now[0] in (1.0, 2.0, 3.0):
        await sender.predict(7)

    assert (diary.first("v1", 1.5), diary.first("v1", 2.0), diary.last("v1")) == (2.0, 2.0, 3.0)
    assert (diary.first("v1", 3.5), diary.last("v2")) == (None, None)


def test_log_of_a_server_is_read_for_our_model_alone() -> None:
    found = changes(LOG)

    assert [(one.version, one.state) for one in found] == [(2, "LOADING"), (2, "AVAILABLE")]
    assert found[1].at - found[0].at == 1.25
