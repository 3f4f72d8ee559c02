"""Archives come out as they went in, and hostile ones are refused by name before anything of them is written."""

import gzip
import io
import tarfile
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.turpin.archives import LIMITS, Entry, archive, file, link
from turpin import tar
from turpin.paths import PathRefused
from turpin.tar import ArchiveRefused, Begin, Data, Limits, Reader


def read(content: bytes, limits: Limits = LIMITS, cuts: tuple[int, ...] = ()) -> dict[str, bytes]:
    """Read an archive in the pieces that `cuts` leave; return its files."""
    reader, files, path = Reader(limits), dict[str, bytearray](), ""
    for begin, end in pairwise([0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]):
        for event in reader.feed(content[begin:end]):
            if isinstance(event, Begin):
                path = event.path
                files[path] = bytearray()
            else:
                assert isinstance(event, Data)
                files[path] += event.content
    reader.end()
    return {path: bytes(found) for path, found in files.items()}


def packed(files: dict[str, bytes]) -> bytes:
    return (
        b"".join(
            tar.header(path, len(content)) + content + tar.padding(len(content)) for path, content in files.items()
        )
        + tar.END
    )


FILES = {"saved_model.pb": b"graph" * 300, "variables/variables.index": b"", "assets/ä.txt": b"1" * 512}


@given(st.lists(st.integers(0, 5000), max_size=6))
def test_files_come_out_as_they_went_in_however_the_archive_is_cut(cuts: list[int]) -> None:
    assert read(packed(FILES), cuts=tuple(cuts)) == FILES


def test_others_read_our_archives() -> None:
    long = "assets/" + "d" * 90 + "/" + "n" * 100
    with tarfile.open(fileobj=io.BytesIO(packed(FILES | {long: b"1"}))) as opened:
        found = {member.name: opened.extractfile(member) for member in opened.getmembers()}

    assert {name: member.read() for name, member in found.items() if member} == FILES | {long: b"1"}


def test_size_beyond_eight_gibibytes_is_kept() -> None:
    header = tar.header("variables/data", 9 * 2**30)

    (begun,) = Reader(Limits(2**40, 10)).feed(header)

    assert begun == Begin("variables/data", 9 * 2**30)
    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == 9 * 2**30


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_archives_of_other_programs_are_read(form: int) -> None:
    entries = [
        file("./", b"", type=tarfile.DIRTYPE),
        file("./variables/", b"", type=tarfile.DIRTYPE, mode=0o777),
        file("./variables/variables.index", b"index", mode=0o4777, uid=0),
        file("./saved_model.pb", b"graph"),
    ]

    assert read(archive(entries, form)) == {"variables/variables.index": b"index", "saved_model.pb": b"graph"}


HOSTILE: dict[str, tuple[list[Entry], str]] = {
    "symbolic link": ([link("saved_model.pb", "/etc/passwd", tarfile.SYMTYPE)], "is a symbolic link"),
    "hard link": ([file("a"), link("b", "a", tarfile.LNKTYPE)], "is a hard link"),
    "character device": ([file("null", b"", type=tarfile.CHRTYPE)], "is a character device"),
    "block device": ([file("sda", b"", type=tarfile.BLKTYPE)], "is a block device"),
    "pipe": ([file("pipe", b"", type=tarfile.FIFOTYPE)], "is a named pipe"),
    "sparse file": ([file("hole", b"", type=tarfile.GNUTYPE_SPARSE)], "is a sparse file"),
    "unknown type": ([file("odd", b"", type=b"Z")], "unknown type 'Z'"),
    "absolute path": ([file("/etc/cron.d/turpin")], "must be relative"),
    "parent": ([file("../2/saved_model.pb")], "no empty parts, `.` or `..`"),
    "parent inside": ([file("variables/../../x")], "no empty parts, `.` or `..`"),
    "dot": ([file("variables/./x")], "no empty parts, `.` or `..`"),
    "empty part": ([file("variables//x")], "no empty parts, `.` or `..`"),
    "parent folder": ([file("../", b"", type=tarfile.DIRTYPE)], "no empty parts, `.` or `..`"),
    "backslash": ([file("..\\x")], "backslashes"),
    "line break": ([file("a\nb")], "can't be printed"),
    "escape": ([file("\x1b[2J")], "can't be printed"),
    "too deep": ([file("/".join("a" * 17))], "at most 16 folders deep"),
    "twice": ([file("a"), file("a")], "'a' is there twice"),
    "other case": ([file("Assets/a"), file("assets/b")], "the same name on some systems"),
    "other case of a file": ([file("saved_model.pb"), file("SAVED_model.pb")], "the same name on some systems"),
    "other composition": ([file("\u00e4"), file("a\u0308")], "the same name on some systems"),
    "sharp s": ([file("stra\u00dfe"), file("strasse")], "the same name on some systems"),
    "inside a file": ([file("a"), file("a/b")], "'a/b' lies inside 'a', which is a file"),
    "file over folder": ([file("a/b"), file("a")], "'a' is there twice"),
    "folder over file": ([file("a"), file("a", b"", type=tarfile.DIRTYPE)], "which is a file"),
    "too many": ([file(str(number)) for number in range(21)], "more than 20 entries"),
    "too many folders": ([file(f"{n}", b"", type=tarfile.DIRTYPE) for n in range(21)], "more than 20 entries"),
    "too large": ([file("a", bytes(2**19)), file("b", bytes(2**19 + 1))], "larger than 1048576 bytes together"),
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE)
def test_hostile_archive_is_refused_by_name(entries: tuple[list[Entry], str]) -> None:
    with pytest.raises(ArchiveRefused) as refused:
        read(archive(entries[0], tarfile.GNU_FORMAT))

    assert entries[1] in str(refused.value)
    assert str(refused.value).isascii()


@pytest.mark.parametrize(("form", "word"), [(tarfile.PAX_FORMAT, "a pax header"), (tarfile.GNU_FORMAT, "GNU header")])
def test_headers_of_later_formats_are_refused_unread(form: int, word: str) -> None:
    with pytest.raises(ArchiveRefused, match=word):
        read(archive([file("n" * 200)], form))


def test_size_is_refused_before_its_bytes_arrive() -> None:
    reader = Reader(LIMITS)

    with pytest.raises(ArchiveRefused, match=r"'bomb' has 8589934591"):
        list(reader.feed(tar.header("bomb", 8**11 - 1)))


def test_size_of_ninety_digits_is_only_a_large_number() -> None:
    block = bytearray(tar.header("bomb", 9 * 2**30))
    block[124:136] = b"\x80" + b"\xff" * 11
    block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256)

    with pytest.raises(ArchiveRefused, match="larger than"):
        list(Reader(LIMITS).feed(bytes(block)))


PLAIN = packed({"saved_model.pb": b"graph"})


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (gzip.compress(PLAIN) + bytes(512), r"compressed \(gzip\)"),
        (b"PK\x03\x04".ljust(1024, b"z"), r"compressed \(zip\)"),
        (b"\x28\xb5\x2f\xfd".ljust(1024, b"z"), r"compressed \(zstd\)"),
        (b"<html>".ljust(1024), "no tar archive"),
        (b"", "the archive is empty"),
        (PLAIN[:700], "ends in the middle"),
        (PLAIN[:-512], "ends in the middle"),
        (PLAIN[:-1024], "ends in the middle"),
        (PLAIN[:100], "ends in the middle"),
        (PLAIN + b"more", "follows the archive's end"),
        (PLAIN + bytes(2**20 + 1), "follows the archive's end"),
        (PLAIN[:512] + b"graph".ljust(512, b"\0") + bytes(512) + PLAIN, "zeros stands inside"),
    ],
)
def test_what_is_no_whole_plain_archive_is_refused(content: bytes, word: str) -> None:
    with pytest.raises(ArchiveRefused, match=word):
        read(content)


# In the checksum itself a zero may become a blank, which means the same.
@given(place=st.integers(0, 511).filter(lambda place: not 148 <= place < 156), bit=st.integers(0, 7))
def test_flipped_bit_in_a_header_is_noticed(place: int, bit: int) -> None:
    spoiled = bytearray(PLAIN)
    spoiled[place] ^= 1 << bit

    with pytest.raises(ArchiveRefused):
        read(bytes(spoiled))


@given(st.binary(max_size=3000))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    with pytest.raises(ArchiveRefused):
        read(content)


@given(st.binary(min_size=512, max_size=512))
def test_no_header_with_a_right_checksum_breaks_the_reader(block: bytes) -> None:
    header = bytearray(block)
    header[257:263] = b"ustar\0"
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 256)

    try:
        events = list(Reader(LIMITS).feed(bytes(header)))
    except ArchiveRefused:
        return
    assert all(isinstance(event, Begin) and event.size_bytes <= LIMITS.size_max_bytes for event in events)


def test_name_that_tar_can_not_keep_is_refused() -> None:
    with pytest.raises(PathRefused, match="at most 100 bytes"):
        tar.header("a" * 101, 0)
