"""The file arrives whole, once, and right, or not at all."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoints import fetch
from checkpoints.errors import InputError
from checkpoints.fetch import Source, find, measure, obtain

from .loopback import Site

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def source(site: Site) -> Source:
    return Source("weights.pth", url=site.add("weights.pth", CONTENT), sha256=SHA256, bytes=len(CONTENT))


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"weights.pth.lock"}


def test_a_file_is_downloaded_once_and_nothing_else_is_left(source: Source, site: Site, home: Path) -> None:
    assert obtain(source).read_bytes() == CONTENT
    assert obtain(source) == home / "weights.pth"
    assert len(site.requests) == 1
    assert left(home) == {"weights.pth"}


def test_a_file_in_the_user_folder_needs_no_network(home: Path) -> None:
    home.mkdir()
    (home / "weights.pth").write_bytes(CONTENT)
    assert obtain(Source("weights.pth", url="http://127.0.0.1:9/weights.pth")) == home / "weights.pth"


def test_a_broken_connection_is_continued_where_it_broke(source: Source, site: Site) -> None:
    site.cuts = [300_000, 200_000]
    assert obtain(source).read_bytes() == CONTENT
    assert [asked for _, _, asked in site.requests] == [None, "bytes=300000-", "bytes=500000-"]


def test_a_later_call_continues_what_an_earlier_one_left(source: Source, site: Site, home: Path) -> None:
    site.cuts = [300_000] + [0] * 5
    with pytest.raises(InputError, match="300000 of 1048576 bytes arrived"):
        obtain(source)
    assert left(home) == {"weights.pth.part", "weights.pth.part.tag"}
    assert obtain(source).read_bytes() == CONTENT
    assert site.requests[-1][2] == "bytes=300000-"


def test_a_complete_download_without_its_name_is_finished(source: Source, site: Site, home: Path) -> None:
    home.mkdir()
    (home / "weights.pth.part").write_bytes(CONTENT)
    (home / "weights.pth.part.tag").write_text(site.etag)
    assert obtain(source).read_bytes() == CONTENT
    assert site.requests == [("GET", "weights.pth", f"bytes={len(CONTENT)}-")]


def test_more_kept_than_the_server_has_is_begun_again(source: Source, site: Site, home: Path) -> None:
    home.mkdir()
    (home / "weights.pth.part").write_bytes(CONTENT + b"more")
    (home / "weights.pth.part.tag").write_text(site.etag)
    assert obtain(source).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_all_again(source: Source, site: Site) -> None:
    site.ranges, site.cuts = False, [300_000]
    assert obtain(source).read_bytes() == CONTENT
    assert len(site.requests) == 2


def test_a_file_that_changed_on_the_server_is_begun_again(source: Source, site: Site, home: Path) -> None:
    home.mkdir()
    (home / "weights.pth.part").write_bytes(b"old" * 1000)
    (home / "weights.pth.part.tag").write_text('"v0"')
    assert obtain(source).read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_name_for_the_version_nothing_is_continued(source: Source, site: Site, etag: str) -> None:
    site.etag, site.cuts = etag, [300_000]
    assert obtain(source).read_bytes() == CONTENT
    assert [asked for _, _, asked in site.requests] == [None, None]


def test_a_date_serves_where_there_is_no_etag(source: Source, site: Site) -> None:
    site.etag, site.cuts = "", [300_000]
    site.headers["Last-Modified"] = "Mon, 01 Jan 2024 00:00:00 GMT"
    assert obtain(source).read_bytes() == CONTENT
    assert site.requests[1][2] == "bytes=300000-"


def test_a_wrong_hash_is_refused_and_not_kept(source: Source, site: Site, home: Path) -> None:
    site.files["weights.pth"] = CONTENT[::-1]
    with pytest.raises(InputError, match=f"expected {SHA256}") as caught:
        obtain(source)
    assert "\n" not in str(caught.value)
    assert left(home) == set()


def test_another_size_than_the_catalogue_says_is_refused(source: Source, site: Site, home: Path) -> None:
    site.files["weights.pth"] = CONTENT[:-1]
    with pytest.raises(InputError, match="has 1048575 bytes, expected 1048576"):
        obtain(source)
    assert left(home) == set()


@pytest.mark.parametrize("known", [{"sha256": SHA256[:8]}, {"md5": MD5[:8]}, {"md5": MD5}, {}])
def test_the_first_digits_of_a_hash_are_enough(site: Site, known: dict[str, str]) -> None:
    url = site.add("weights.pth", CONTENT)
    path = obtain(Source("weights.pth", url=url, **known))
    assert path.read_bytes() == CONTENT
    kind, digits = next(iter(known.items()), ("nothing", ""))
    expected = f"{kind} (first 8 digits)" if len(digits) == 8 else kind
    assert measure(path, Source("weights.pth", **known)) == expected


@pytest.mark.parametrize("known", [{"sha256": "0" * 8}, {"md5": "0" * 8}])
def test_the_first_digits_of_a_wrong_hash_are_enough(site: Site, known: dict[str, str]) -> None:
    with pytest.raises(InputError, match="expected 00000000"):
        obtain(Source("weights.pth", url=site.add("weights.pth", CONTENT), **known))


def test_no_network_says_which_file_to_put_where(home: Path) -> None:
    with pytest.raises(InputError) as caught:
        obtain(Source("weights.pth", url="http://127.0.0.1:9/weights.pth"))
    assert "http://127.0.0.1:9/weights.pth" in str(caught.value)
    assert f"put it at {home / 'weights.pth'}" in str(caught.value)


def test_an_absent_page_is_no_file(site: Site, home: Path) -> None:
    with pytest.raises(InputError, match="404"):
        obtain(Source("weights.pth", url=f"{site.address}/other.pth"))
    assert left(home) == set()


def test_a_folder_that_cannot_be_made_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="TRANSFER_HOME"):
        obtain(Source("weights.pth", url=site.add("weights.pth", CONTENT)), tmp_path / "file")


def test_a_full_disk_leaves_no_half_file(source: Source, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("checkpoints.download._write", full)
    with pytest.raises(InputError, match="No space left"):
        obtain(source)
    assert not (home / "weights.pth").exists()


def test_processes_that_ask_together_make_one_download(source: Source, site: Site, home: Path) -> None:
    site.delay = 0.5
    code = f"from checkpoints.fetch import Source, obtain; print(obtain({source!r}))"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=120)[0].strip() for process in running]
    assert answers == [str(home / "weights.pth")] * 3
    assert len(site.requests) == 1


def test_the_user_folder_is_the_root_else_the_environment_else_the_platforms(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert fetch.home(tmp_path) == tmp_path
    assert fetch.home() == home
    monkeypatch.delenv("TRANSFER_HOME")
    assert "px-transfer" in fetch.home().parts
    assert find(Source("a file that nobody has")) is None
