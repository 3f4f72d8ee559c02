"""Labels lead where the configuration says, until the store says otherwise."""

import msgspec
import structlog

from router.control.desired import Document
from router.labels import Labels
from router.store import Record
from serving import model_config
from serving.model_config import Desired, ModelFiles

CONFIGURED = {("tfs-a", "digits"): {"stable": 1}, ("tfs-b", "digits"): {"stable": 7}}


def record(desired: Desired, revision: int) -> Record:
    return Record("tfs-a", revision, msgspec.json.encode(Document("source", desired)))


def test_label_moves_with_the_store_and_others_stay() -> None:
    labels = Labels(CONFIGURED)
    before = model_config.seed({"digits": ModelFiles("/models/digits", (1, 2), {"stable": 1, "old": 1})})
    after = before.retiring("digits", 1, available=(), label_to=2)

    found = [labels.version("tfs-a", "digits", "stable")]
    for revision, desired in ((1, before), (2, after)):
        labels.update([record(desired, revision)])
        found.append(labels.version("tfs-a", "digits", "stable"))

    assert found == [1, 1, 2]
    assert labels.version("tfs-a", "digits", "old") == 2
    assert labels.version("tfs-b", "digits", "stable") == 7
    assert labels.version("tfs-a", "digits", "nope") is labels.version("tfs-c", "digits", "stable") is None


def test_record_that_can_not_be_read_is_said_once_and_changes_nothing() -> None:
    labels = Labels(CONFIGURED)

    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            labels.update([Record("tfs-a", 1, b"no document")])

    assert [line["event"] for line in logs] == ["stored backend can't be read"]
    assert labels.version("tfs-a", "digits", "stable") == 1
