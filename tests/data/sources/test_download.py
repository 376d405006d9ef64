"""Tars that want out of their folder, or are not whole: refused, and nothing stays behind."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from checkpoints.errors import InputError
from transfer.data.sources.download import unpack


def member(name: str, content: bytes = b"x", **fields) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


@pytest.fixture
def tar(tmp_path: Path) -> Callable[..., Path]:
    def make(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w:") -> Path:
        path = tmp_path / "some.tar"
        with tarfile.open(path, mode) as archive:
            for info, content in (member("in/good"), *members):
                archive.addfile(info, io.BytesIO(content))
        return path

    return make


def left(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.rglob("*"))


def test_files_and_folders_are_written(tar, tmp_path):
    folder = member("in/deep", b"", type=tarfile.DIRTYPE)
    archive = tar(folder, member("./in/deep/er/file", b"content"), member("out", b"not asked for"))
    unpack(archive, "in", tmp_path / "here/target")
    assert left(tmp_path / "here") == ["deep", "er", "file", "good", "target"]
    assert (tmp_path / "here/target/deep/er/file").read_bytes() == b"content"


def test_rights_of_the_tar_are_not_taken_over(tar, tmp_path):
    unpack(tar(member("in/program", b"#!", mode=0o4777)), "in", tmp_path / "target")
    assert (tmp_path / "target/program").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member("../evil"), "leads out of the folder"),
        (member("in/../../evil"), "leads out of the folder"),
        (member("/tmp/evil-of-a-tar"), "leads out of the folder"),
        (member("in/evil", pax_headers={"path": "in/\0evil"}), "leads out of the folder"),
        (member("in/link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link or device"),
        (member("in/hard", b"", type=tarfile.LNKTYPE, linkname="in/good"), "is a link or device"),
        (member("in/device", b"", type=tarfile.CHRTYPE), "is a link or device"),
        (member("in/pipe", b"", type=tarfile.FIFOTYPE), "is a link or device"),
        (member("in/good/child"), "not a whole tar"),
        (member("in/good", b"again"), "not a whole tar"),
    ],
)
def test_members_that_are_refused(tar, tmp_path, bad, said):
    with pytest.raises(InputError, match=said) as caught:
        unpack(tar(bad), "in", tmp_path / "target")
    assert "\n" not in str(caught.value)
    assert left(tmp_path) == ["some.tar"]
    assert not Path("/tmp/evil-of-a-tar").exists()


def test_a_sparse_member_that_explodes(tar, tmp_path):
    """100 GB of holes in 2 kB: declared in a PAX header, as GNU tar does."""
    headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(100 << 30), "GNU.sparse.numblocks": "1"}
    with pytest.raises(InputError, match="in/bomb declares more bytes than the tar holds"):
        unpack(tar(member("in/bomb", b"x", pax_headers=headers)), "in", tmp_path / "target")
    assert left(tmp_path) == ["some.tar"]


def test_a_member_of_negative_size(tar, tmp_path):
    path = tar(member("in/backwards"))
    content = bytearray(path.read_bytes())
    at = content.index(b"in/backwards")
    content[at + 124 : at + 136] = (-512).to_bytes(12, "big", signed=True)
    content[at + 148 : at + 156] = b" " * 8
    content[at + 148 : at + 155] = b"%06o\0" % sum(content[at : at + 512])
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"declares more bytes than the tar holds|not a whole tar"):
        unpack(path, "in", tmp_path / "target")
    assert left(tmp_path) == ["some.tar"]


def test_a_member_that_declares_more_than_follows(tar, tmp_path):
    path = tar(member("in/long", bytes(40_000)))
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match=r"declares more bytes than the tar holds|not a whole tar"):
        unpack(path, "in", tmp_path / "target")
    assert left(tmp_path) == ["some.tar"]


@pytest.mark.parametrize("content", [b"", b"no tar at all", b"\x1f\x8b" + bytes(600)])
def test_what_is_no_tar(tmp_path, content):
    (tmp_path / "some.tar").write_bytes(content)
    with pytest.raises(InputError, match="not a whole tar"):
        unpack(tmp_path / "some.tar", "in", tmp_path / "target")
    assert left(tmp_path) == ["some.tar"]


def test_a_compressed_tar_is_refused(tar, tmp_path):
    with pytest.raises(InputError, match="not a whole tar"):
        unpack(tar(mode="w:gz"), "in", tmp_path / "target")


def test_what_a_killed_process_left_is_no_hindrance(tar, tmp_path):
    (tmp_path / ".target.unpacking/in").mkdir(parents=True)
    (tmp_path / ".target.unpacking/in/good").write_bytes(b"half")
    unpack(tar(), "in", tmp_path / "target")
    assert (tmp_path / "target/good").read_bytes() == b"x"
    assert left(tmp_path) == ["good", "some.tar", "target"]


def test_a_python_without_filters_is_refused(tar, tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(InputError, match=r"unpacks no tar safely; use Python 3\.10\.12"):
        unpack(tar(), "in", tmp_path / "target")
    assert left(tmp_path) == ["some.tar"]
