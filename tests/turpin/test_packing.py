"""A folder becomes the same archive wherever it lies, and no byte of it can change without being noticed."""

import os
from pathlib import Path

import pytest
import yaml

from tests.turpin import models
from tests.turpin.test_tar import read
from turpin import package as packages
from turpin.package import NAME, Package, PackageRefused, Runtime
from turpin.packing import ModelRefused, pack, seal, verify
from turpin.signatures import SignaturesUnreadable, signatures


def sealed(folder: Path) -> Path:
    """A folder of which the package was written into it."""
    seal(models.write_model(folder))
    return folder


def test_equal_models_give_equal_archives_wherever_and_whenever(tmp_path: Path) -> None:
    here, there = models.write_model(tmp_path / "here"), models.write_model(tmp_path / "elsewhere" / "there")
    os.utime(there / "saved_model.pb", (1, 1))
    (there / "saved_model.pb").chmod(0o600)

    one, two = pack(here), pack(there)

    assert b"".join(one.chunks()) == b"".join(two.chunks())
    assert one.sealed.digest == two.sealed.digest


def test_archive_holds_the_package_and_all_files_and_has_the_size_it_says(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path / "7")
    archive = pack(folder)
    content = b"".join(archive.chunks())

    files = read(content)

    assert len(content) == archive.size_bytes
    assert files.pop(NAME) == archive.sealed.content
    assert files == {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert not (folder / NAME).exists()


def test_package_says_what_its_maker_said_and_the_model_s_signatures(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path / "7")
    said = Package(
        runtime=Runtime("tensorflow/serving:2.21.0", ("--enable_batching",)),
        batching={"max_batch_size": 64},
        precision="float16",
        hardware="1 × L4",
        price_usd_per_hour=0.526,
    )

    document = yaml.safe_load(pack(folder, said).sealed.content)

    assert document["signatures"] == {"serving_default": models.AS_READ}
    assert document["runtime"] == {"image": "tensorflow/serving:2.21.0", "flags": ["--enable_batching"]}
    assert (document["precision"], document["hardware"]) == ("float16", "1 × L4")
    assert (document["batching"], document["price_usd_per_hour"]) == ({"max_batch_size": 64}, 0.526)


def test_package_written_by_hand_is_sealed_and_a_sealed_one_is_kept(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path / "7")
    (folder / NAME).write_text("hardware: 1 × L4\nprice_usd_per_hour: 1\n")

    first = pack(folder).sealed
    (folder / NAME).write_bytes(first.content)

    assert (first.package.hardware, first.package.price_usd_per_hour) == ("1 × L4", 1.0)
    assert pack(folder).sealed == first == verify(folder)


def test_each_flipped_byte_is_noticed_and_the_file_is_named(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "7")
    content = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    noticed = 0

    for path, whole in content.items():
        for place in range(0, len(whole), 23):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(PackageRefused) as refused:
                verify(folder)
            # A digest in the package that was changed is no longer that of the file it is about.
            assert path.name in str(refused.value) or NAME in str(refused.value)
            noticed += 1
        path.write_bytes(whole)

    verify(folder)
    assert noticed > 50


def test_what_was_changed_is_said_with_both_digests(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "7")
    (folder / "variables" / "variables.index").write_bytes(b"Index")

    with pytest.raises(PackageRefused, match=r"variables/variables\.index was changed after it was sealed: it has 5"):
        pack(folder)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda folder: (folder / "saved_model.pb").rename(folder / "model.pb"), "model.pb is none of the files"),
        (lambda folder: (folder / "variables" / "variables.index").unlink(), "variables.index is missing"),
        (lambda folder: (folder / "extra").write_bytes(b""), "extra is none of the files"),
        (lambda folder: (folder / NAME).write_text("format: 1\n"), "must begin with `digest: sha256"),
        (lambda folder: (folder / NAME).unlink(), f"has no {NAME}"),
    ],
)
def test_file_more_or_less_is_named(tmp_path: Path, spoil: object, word: str) -> None:
    folder = sealed(tmp_path / "7")
    assert callable(spoil)
    spoil(folder)

    with pytest.raises(PackageRefused, match=word):
        verify(folder)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("hardware: [", "can't be read"),
        ("- a", "must be a mapping"),
        ("colour: red", "unknown field 'colour'; there are batching, hardware"),
        ("hardware: 1", "hardware in turpin-package.yaml must be a text, got 1"),
        ("price_usd_per_hour: -1", "must be 0 or more, got -1"),
        ("price_usd_per_hour: .nan", "must be 0 or more, got nan"),
        ("price_usd_per_hour: true", "must be a number, got True"),
        ("runtime: {flags: --port}", "an image and a list of flags"),
        ("runtime: {args: []}", "an image and a list of flags"),
        ("batching: 3", "must be a mapping"),
        ("a: &a [x]\nbatching: {b: *a}", "must not hold aliases"),
        ("[" * 100_000, "at most 20 deep"),
        ("x" * (packages.PACKAGE_BYTES_MAX + 1), "at most 1048576"),
        ("a: !!python/object/apply:os.system [id]", "can't be read"),
    ],
)
def test_package_that_makes_no_sense_is_refused(text: str, word: str) -> None:
    with pytest.raises(PackageRefused, match=word):
        packages.written(text.encode())


def test_folder_that_is_no_saved_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"")

    with pytest.raises(ModelRefused, match=r"is no SavedModel: there is no saved_model\.pb"):
        pack(tmp_path)
    with pytest.raises(ModelRefused, match="is no folder"):
        pack(tmp_path / "nothing")


def test_links_are_refused_rather_than_followed_or_left_out(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path / "7")
    (folder / "assets").symlink_to(tmp_path)

    with pytest.raises(ModelRefused, match="assets is a symbolic link"):
        pack(folder)


def test_file_that_changes_while_it_is_sent_is_noticed(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path / "7")
    archive = pack(folder)
    (folder / "variables" / "variables.index").write_bytes(b"INDEX")

    with pytest.raises(ModelRefused, match="changed while it was being sent"):
        list(archive.chunks())


def test_signatures_are_those_of_the_graph_that_serves() -> None:
    content = models.saved_model({"train": models.ROWS}, tag=b"train") + models.saved_model(
        {"serving_default": models.ROWS, "text": models.signature({"t": models.tensor(models.STRING)}, {})}
    )

    assert signatures(content) == {
        "serving_default": models.AS_READ,
        "text": {"inputs": {"t": {"dtype": "string", "shape": []}}, "outputs": {}},
    }


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no graph tagged `serve`"),
        (b"not a protobuf at all", "can't be read"),
        (models.saved_model({"a": models.ROWS})[:-3], "can't be read"),
        (models.saved_model({}), "no signatures"),
        (models.saved_model({"a": models.ROWS}, tag=b"train"), "no graph tagged `serve`"),
        (b"\xff" * 20, "can't be read"),
    ],
)
def test_file_that_can_not_be_served_is_said_so(content: bytes, word: str) -> None:
    with pytest.raises(SignaturesUnreadable, match=word):
        signatures(content)
