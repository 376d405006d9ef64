"""A zip of runs tells a report what the run folders do."""

import html
import json
import shlex
import shutil
import zipfile

import pytest

from checkpoints import InputError
from tests.report.run_folders import RECIPE, write_run
from transfer.runs.pack import unpacked
from transfer.runs.report_runs import report


@pytest.fixture
def runs(tmp_path):
    out = tmp_path / "runs"
    for seed in (0, 1):
        write_run(out, "dense", 0.0, seed, 0.95 + 0.01 * seed)
        write_run(out, "px", 0.9, seed, 0.9 + 0.01 * seed)
    unfinished = write_run(out, "snip", name="begun")
    (unfinished / "result.json").unlink()
    listed = {"runs": ["gone"], "failed": [{"run": "hot", "error": "out of memory"}]}
    (out / "digits-sweep").mkdir()
    (out / "digits-sweep" / "sweep.json").write_text(json.dumps(listed))
    return out


def told(folders, out, **more):
    found = report(folders, out=out, **more)
    faults = [(fault.kind, fault.where) for fault in found.faults]
    return [(out / f"report.{kind}").read_bytes() for kind in ("csv", "tex")], faults


def test_a_zip_tells_what_the_folders_do(runs, tmp_path):
    there = told([runs], tmp_path / "a", pack=tmp_path / "runs.zip")
    assert {kind for kind, _ in there[1]} == {"unfinished", "missing", "failed"}
    shutil.rmtree(runs)
    assert told([tmp_path / "runs.zip"], tmp_path / "b", pack=tmp_path / "again.zip") == there
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "runs.zip").read_bytes()


def test_what_is_shown_is_named_by_the_zip(runs, tmp_path):
    write_run(runs, "magnitude", recipe=RECIPE.__class__(name="mine", data=RECIPE.data, train=RECIPE.train))
    report([runs], out=tmp_path / "a", pack=tmp_path / "runs.zip")
    found = report([tmp_path / "runs.zip"], out=tmp_path / "b")
    (missing,) = (fault for fault in found.faults if fault.kind == "missing")
    assert missing.what.startswith(f"{tmp_path / 'runs.zip'}/digits-sweep/sweep.json lists it")
    text = (tmp_path / "b" / "report.html").read_text()
    assert "px-transfer-" not in text
    (own,) = (run.folder for section in found.sections for run in section.records if run.recipe.name == "mine")
    assert own.parent == tmp_path / "runs.zip"
    again = html.unescape(text).replace("""'"'"'""", "'")  # as a shell reads it
    assert f"ZipFile({str(own.parent)!r}).open({own.name + '/recipe.json'!r})" in again


def test_the_weights_stay_behind(runs, tmp_path):
    report([runs], out=tmp_path / "a", pack=tmp_path / "runs.zip")
    names = zipfile.ZipFile(tmp_path / "runs.zip").namelist()
    assert len(names) == len(set(names))
    assert not any("safetensors" in name for name in names)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (["../result.json"], "holds '../result.json'"),
        (["/result.json"], "holds '/result.json'"),
        (["a/b/result.json"], "holds 'a/b/result.json'"),
        (["a/model.safetensors"], "holds 'a/model.safetensors'"),
        ([], "holds no run"),
    ],
)
def test_a_zip_of_other_things_is_refused(tmp_path, entries, says):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in entries:
            archive.writestr(name, "{}")
    with pytest.raises(InputError, match=r"^\S*x\.zip " + says.replace(".", r"\.")):
        report([tmp_path / "x.zip"], out=tmp_path / "r")
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_a_zip_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch, runs):
    report([runs], out=tmp_path / "a", pack=tmp_path / "runs.zip")
    monkeypatch.setattr("transfer.runs.pack._MOST", 1000)
    with pytest.raises(InputError, match=r"^\S*runs\.zip holds more than"):
        report([tmp_path / "runs.zip"], out=tmp_path / "b")


def test_a_damaged_zip_is_one_line(runs, tmp_path):
    report([runs], out=tmp_path / "a", pack=tmp_path / "runs.zip")
    content = bytearray((tmp_path / "runs.zip").read_bytes())
    shown = []
    for at in range(0, len(content), 191):
        damaged = content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]
        (tmp_path / "bad.zip").write_bytes(damaged)
        try:
            with unpacked([tmp_path / "bad.zip"]):
                pass
        except InputError as error:
            shown.append(str(error))
    assert any("bad.zip is damaged" in line for line in shown)
    assert not any("\n" in line for line in shown)


@pytest.mark.parametrize("name", ["runs", "runs.tar", "file/runs.zip"])
def test_a_place_that_cannot_be_written(runs, tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--pack"):
        report([runs], out=tmp_path / "a", pack=tmp_path / name)


def test_nothing_is_packed_where_the_report_cannot_be_written(runs, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="choose another --out"):
        report([runs], out=tmp_path / "file" / "report", pack=tmp_path / "runs.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "runs"]


def test_the_command_packs(runs, tmp_path, command):
    words = shlex.split(f"report {runs} --out {tmp_path / 'r'} --pack {tmp_path / 'r.zip'}")
    code, out, _ = command(*words)
    assert (code, out.splitlines()[-1]) == (0, f"file {tmp_path / 'r.zip'}")
