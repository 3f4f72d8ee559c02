"""An archive that is sent becomes a version in its place and a deployment in the store, once; all else is refused."""

import asyncio
import contextlib
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from router.config.document import validate
from router.deploy.deployment import Deployment, decode, encode, failed, failing, forward
from router.deploy.place import UPLOADS
from tests.router.admin.bench import CONFIG, MODELS, NOW, TOKEN, Answer, Bench, bench, specified
from tests.router.control.world import BACKEND
from tests.turpin import models
from tests.turpin.archives import archive, file, link
from turpin.packing import Archive, pack, verify
from turpin.tar import header

PLACE = "/admin/v1/models/digits/versions/7"


@contextlib.asynccontextmanager
async def publishing(tmp_path: Path) -> AsyncIterator[Bench]:
    """The admin port of a gateway that publishes, with an experiment that runs."""
    (tmp_path / "publish").mkdir()
    backend = {
        "target": "tfs:1",
        "price_usd_per_hour": 0.5,
        "control": "managed",
        "models": MODELS,
        "publish": str(tmp_path / "publish"),
    }
    async with bench(validate(type(CONFIG), {"store": "memory:", "backends": {BACKEND: backend}})) as on:
        await on.started(1, 2)
        yield on


async def put(on: Bench, body: Any, path: str = f"{PLACE}?arm=v7", **headers: str) -> Answer:
    sent = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/x-tar"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with on.session.put(path, data=body, headers=sent | named) as got:
        return Answer(got.status, await got.json(content_type=None), {k.lower(): v for k, v in got.headers.items()})


def packed(folder: Path, graph: bytes = b"nodes") -> Archive:
    return pack(models.write_model(folder, graph))


def content(made: Archive) -> bytes:
    return b"".join(made.chunks())


async def stored(on: Bench) -> list[Deployment]:
    return [decode(record.document) for record in await on.store.deployments()]


async def test_version_is_published_and_its_deployment_begins(tmp_path: Path) -> None:
    made = packed(tmp_path / "model")
    async with publishing(tmp_path) as on:
        answer = await put(on, content(made), Turpin_Digest=made.sealed.digest)
        shown = await on.call("GET", PLACE)
        audit = await on.call("GET", "/admin/v1/audit")

    assert (answer.status, answer.headers["location"]) == (202, PLACE)
    assert shown.body == answer.body
    assert (answer.body["step"], answer.body["state"], answer.body["experiment"]) == ("load", "running", "digits")
    assert (answer.body["arm"], answer.body["backend"], answer.body["who"]) == ("v7", BACKEND, "local")
    assert verify(tmp_path / "publish" / "digits" / "7").digest == made.sealed.digest
    assert list((tmp_path / "publish" / UPLOADS).iterdir()) == []
    assert audit.body["audit"][-1]["what"] == "deploy v7"
    assert audit.body["audit"][-1]["after"]["digest"] == made.sealed.digest


async def test_revisions_before_a_deployment_are_still_known(tmp_path: Path) -> None:
    made = packed(tmp_path / "model")
    async with publishing(tmp_path) as on:
        await on.edit("PATCH", {"arms": specified(1, 2, 3)["arms"]})
        await put(on, content(made), Turpin_Digest=made.sealed.digest)
        back = await on.order("rollback", {"revision": 1})
        shown = await on.call("GET", "/admin/v1/experiments/digits")

    assert back.status == 200
    assert [arm["name"] for arm in shown.body["spec"]["arms"]] == ["v1", "v2"]


async def test_same_version_sent_again_changes_nothing(tmp_path: Path) -> None:
    made = packed(tmp_path / "model")
    async with publishing(tmp_path) as on:
        first = await put(on, content(made), Turpin_Digest=made.sealed.digest)
        again = await put(on, content(made), Turpin_Digest=made.sealed.digest)
        records = await on.store.deployments()

    assert (again.status, again.body) == (202, first.body)
    assert len(records) == 1


async def test_other_version_of_the_same_number_is_refused(tmp_path: Path) -> None:
    made, other = packed(tmp_path / "model"), packed(tmp_path / "other", b"others")
    async with publishing(tmp_path) as on:
        await put(on, content(made), Turpin_Digest=made.sealed.digest)
        answer = await put(on, content(other), Turpin_Digest=other.sealed.digest)

    assert (answer.status, answer.label) == (409, "state_conflict")
    assert "never overwritten" in answer.body["detail"]
    assert verify(tmp_path / "publish" / "digits" / "7").digest == made.sealed.digest


async def test_folder_of_that_number_that_somebody_else_made_is_left_alone(tmp_path: Path) -> None:
    made = packed(tmp_path / "model")
    async with publishing(tmp_path) as on:
        models.write_model(tmp_path / "publish" / "digits" / "7")
        answer = await put(on, content(made), Turpin_Digest=made.sealed.digest)

        assert (answer.status, answer.label) == (409, "state_conflict")
        assert await stored(on) == []


async def test_version_that_was_published_before_a_crash_is_taken_up(tmp_path: Path) -> None:
    made = packed(tmp_path / "model")
    async with publishing(tmp_path) as on:
        await put(on, content(made), Turpin_Digest=made.sealed.digest)
        # As after a crash between the rename and the store, with a store of an hour ago.
        on.store._deployments.clear()
        answer = await put(on, b"", Turpin_Digest=made.sealed.digest)

    assert (answer.status, answer.body["step"]) == (202, "publish")


async def test_version_that_failed_may_be_deployed_again(tmp_path: Path) -> None:
    made = packed(tmp_path / "model")
    async with publishing(tmp_path) as on:
        await put(on, content(made), Turpin_Digest=made.sealed.digest)
        (record,) = await on.store.deployments()
        over = failed(failing(decode(record.document), "no such op", NOW), NOW)
        await on.store.save_deployment(record.name, encode(over), record.revision, None)
        (tmp_path / "publish" / "digits" / "7").rename(tmp_path / "withdrawn")
        answer = await put(on, content(made), Turpin_Digest=made.sealed.digest)

    assert (answer.status, answer.body["state"], answer.body["error"]) == (202, "running", "")


async def joined(on: Bench) -> None:
    """Take the one deployment to its end, as the leader does."""
    (record,) = await on.store.deployments()
    deployment, revision = decode(record.document), record.revision
    while not deployment.is_over:
        deployment = forward(deployment, NOW)
        revision = await on.store.save_deployment(record.name, encode(deployment), revision, None)
    await on.edit("PATCH", {"arms": [*specified(1, 2)["arms"], {"name": "v7", "backend": BACKEND, "version": 7}]})


async def test_version_that_was_rolled_back_is_taken_up_again_without_an_upload(tmp_path: Path) -> None:
    made = packed(tmp_path / "model")
    async with publishing(tmp_path) as on:
        await put(on, content(made), Turpin_Digest=made.sealed.digest)
        await joined(on)
        done = await put(on, b"", Turpin_Digest=made.sealed.digest)
        await on.edit("PATCH", {"arms": specified(1, 2)["arms"]})
        again = await put(on, b"", Turpin_Digest=made.sealed.digest)

    assert (done.status, done.body["state"]) == (200, "done")
    assert (again.status, again.body["state"], again.body["step"]) == (202, "running", "publish")


async def test_version_that_is_no_arm_any_more_is_not_called_done_after_the_end(tmp_path: Path) -> None:
    made = packed(tmp_path / "model")
    async with publishing(tmp_path) as on:
        await put(on, content(made), Turpin_Digest=made.sealed.digest)
        await joined(on)
        await on.edit("PATCH", {"arms": specified(1, 2)["arms"], "reopen_on": []})
        await on.order("stop")
        again = await put(on, b"", f"{PLACE}?arm=v7&experiment=digits", Turpin_Digest=made.sealed.digest)

    assert (again.status, again.label) == (409, "state_conflict")


REFUSED: dict[str, tuple[Any, int, str]] = {
    "link": (archive([link("saved_model.pb", "/etc/passwd", tarfile.SYMTYPE)]), 422, "is a symbolic link"),
    "parent": (archive([file("../../../etc/cron.d/x")]), 422, "no empty parts"),
    "too large": (header("a", (1 << 20) + 1), 422, "larger than 1048576 bytes"),
    "too many": (archive([file(str(number)) for number in range(21)]), 422, "more than 20 entries"),
    "no package": (archive([file("saved_model.pb")]), 422, "there is no turpin-package.yaml"),
    "half": (archive([file("saved_model.pb", bytes(2000))])[:1500], 422, "ends in the middle"),
    "nothing": (b"", 422, "the archive is empty"),
    "html": (b"<html>".ljust(4096), 422, "no tar archive"),
}


@pytest.mark.parametrize(("body", "status", "word"), REFUSED.values(), ids=REFUSED)
async def test_hostile_upload_leaves_nothing(tmp_path: Path, body: bytes, status: int, word: str) -> None:
    async with publishing(tmp_path) as on:
        answer = await put(on, body)

        assert (answer.status, answer.label) == (status, "invalid")
        assert word in answer.body["detail"]
        assert await stored(on) == []
    assert [path.relative_to(tmp_path / "publish").as_posix() for path in (tmp_path / "publish").rglob("*")] == [
        UPLOADS
    ]


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/admin/v1/models/digits/versions/7", 422, "arm= must be"),
        ("/admin/v1/models/digits/versions/7?arm=V7", 422, "arm= must be"),
        ("/admin/v1/models/digits/versions/7?arm=v7&path=/etc", 422, "there is no parameter 'path'"),
        ("/admin/v1/models/digits/versions/0?arm=v7", 422, "a version is a number from 1"),
        ("/admin/v1/models/digits/versions/..?arm=v7", 404, ""),
        ("/admin/v1/models/digits/versions/%2e%2e%2f7?arm=v7", 422, "a version is a number"),
        ("/admin/v1/models/letters/versions/7?arm=v7", 409, "can't be published"),
        ("/admin/v1/models/%2e%2e/versions/7?arm=v7", 404, ""),
        ("/admin/v1/models/digits/versions/7?arm=v7&backend=elsewhere", 409, "can't be published"),
        ("/admin/v1/models/digits/versions/7?arm=v7&experiment=letters", 409, "there is no experiment letters"),
        ("/admin/v1/models/digits/versions/7?arm=v1", 409, "'v1' is"),
        ("/admin/v1/models/digits/versions/2?arm=v7", 409, "is the arm 'v2' of digits already"),
    ],
)
async def test_request_that_makes_no_sense_is_refused_unread(tmp_path: Path, path: str, status: int, word: str) -> None:
    made = packed(tmp_path / "model")
    async with publishing(tmp_path) as on:
        answer = await put(on, content(made), path)

        assert answer.status == status
        assert word in answer.body["detail"]
        assert await stored(on) == []
    assert list((tmp_path / "publish").rglob("saved_model.pb")) == []


async def test_comparison_is_kept_with_the_deployment_and_shown(tmp_path: Path) -> None:
    made = packed(tmp_path / "model")
    path = f"{PLACE}?arm=v7&shadow=" + quote('{"requests": 50, "against": ["v1"]}')
    async with publishing(tmp_path) as on:
        answer = await put(on, content(made), path, Turpin_Digest=made.sealed.digest)
        again = await put(on, content(made), path, Turpin_Digest=made.sealed.digest)
        other = await put(on, content(made), Turpin_Digest=made.sealed.digest)

    assert answer.status == 202
    shadow = answer.body["shadow"]
    assert (shadow["requests"], shadow["against"], shadow["min_agreement"], shadow["timeout"]) == (
        50,
        ["v1"],
        0.0,
        "10m",
    )
    assert answer.body["comparison"] is None
    assert (again.status, other.status) == (202, 409)


async def test_comparison_that_makes_no_sense_is_refused_with_every_error(tmp_path: Path) -> None:
    made = packed(tmp_path / "model")
    async with publishing(tmp_path) as on:
        bad = await put(on, content(made), f"{PLACE}?arm=v7&shadow=" + quote('{"requests": 0, "share": 2}'))
        nobody = await put(on, content(made), f"{PLACE}?arm=v7&shadow=" + quote('{"against": ["v9"]}'))
        text = await put(on, content(made), f"{PLACE}?arm=v7&shadow=much")
        stored_now = await stored(on)

    assert [one.status for one in (bad, nobody, text)] == [422] * 3
    assert [error["field"] for error in bad.body["errors"]] == ["shadow.requests", "shadow.share"]
    (error,) = nobody.body["errors"]
    assert (error["field"], "there are v1, v2" in error["message"]) == ("shadow.against[0]", True)
    assert "is not JSON" in text.body["errors"][0]["message"]
    assert stored_now == []


async def test_digest_and_encoding_are_checked(tmp_path: Path) -> None:
    made = packed(tmp_path / "model")
    async with publishing(tmp_path) as on:
        malformed = await put(on, content(made), Turpin_Digest="md5:1")
        wrong = await put(on, content(made), Turpin_Digest="sha256:" + "0" * 64)
        gzipped = await put(on, content(made), Content_Encoding="gzip")

    assert [answer.status for answer in (malformed, wrong, gzipped)] == [422, 422, 415]
    assert "was said to be sha256:000" in wrong.body["detail"]


async def test_experiment_that_was_put_away_takes_no_new_arm(tmp_path: Path) -> None:
    made = packed(tmp_path / "model")
    async with publishing(tmp_path) as on:
        await on.order("stop")
        await on.order("archive")
        answer = await put(on, content(made), f"{PLACE}?arm=v7&experiment=digits")

    assert (answer.status, answer.label) == (409, "state_conflict")
    assert "the experiment digits is archived" in answer.body["detail"]


async def test_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    whole = content(packed(tmp_path / "model"))
    uploads = tmp_path / "publish" / UPLOADS
    arrived = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield whole[: len(whole) // 2]
        await asyncio.wait_for(until(lambda: uploads.is_dir() and any(uploads.iterdir())), 10)
        arrived.set()
        await asyncio.Event().wait()

    async with publishing(tmp_path) as on:
        sending = asyncio.get_running_loop().create_task(put(on, half()))
        await asyncio.wait_for(arrived.wait(), 10)
        sending.cancel()
        await asyncio.wait_for(until(lambda: not any(uploads.iterdir())), 10)

        assert await stored(on) == []


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 the disk tells nobody
        await asyncio.sleep(0.01)


async def test_third_upload_at_once_is_asked_to_come_again(tmp_path: Path) -> None:
    whole = content(packed(tmp_path / "model"))
    uploads = tmp_path / "publish" / UPLOADS
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield whole[:600]
        await go_on.wait()
        yield whole[600:]

    async with publishing(tmp_path) as on, asyncio.TaskGroup() as tasks:
        paths = [f"/admin/v1/models/digits/versions/{number}?arm=v{number}" for number in (7, 8, 9)]
        under_way = [tasks.create_task(put(on, slow(), path)) for path in paths[:2]]
        await asyncio.wait_for(until(lambda: uploads.is_dir() and len(list(uploads.iterdir())) == 2), 10)
        third = await put(on, whole, paths[2])
        go_on.set()
        done = [await task for task in under_way]

    assert (third.status, third.label, third.headers["retry-after"]) == (429, "busy", "1")
    assert [answer.status for answer in done] == [202, 202]


async def test_deployments_are_listed_the_newest_first(tmp_path: Path) -> None:
    async with publishing(tmp_path) as on:
        for number in (7, 8):
            await put(on, content(packed(tmp_path / f"model-{number}")), f"{PLACE[:-1]}{number}?arm=v{number}")
            on.clock["now"] += 60.0
        listed = await on.call("GET", "/admin/v1/deployments")
        shown = await on.call("GET", PLACE)

    assert [one["version"] for one in listed.body["deployments"]] == [8, 7]
    assert listed.body["deployments"][1] == shown.body


async def test_version_that_was_never_deployed_is_not_found(tmp_path: Path) -> None:
    async with publishing(tmp_path) as on:
        answer = await on.call("GET", "/admin/v1/models/digits/versions/8")

    assert (answer.status, answer.label) == (404, "not_found")
