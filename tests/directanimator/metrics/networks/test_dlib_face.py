"""dlib's face network: its geometry everywhere, its judgement where the weights are."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from directanimator.assets import is_fetched
from directanimator.errors import UserError
from directanimator.metrics.networks.dlib_face import (
    MESH_POINTS,
    DlibFace,
    face_chip,
    face_embeddings,
    similarity,
)
from directanimator.perception.face_mesh import FaceMesh
from directanimator.places import assets_root
from directanimator.video import read_video

NETS = ("dlib_face", "dlib_face_layout", "face_landmark", "single_face")
fetched = pytest.mark.skipif(
    not all(map(is_fetched, NETS)), reason=f"python -m directanimator.assets fetch {' '.join(NETS)}"
)
ASTRONAUT_BOX = np.array([[178, 81, 272, 175]], np.float32)
SINGLE_BOX = np.array([[207, 122, 385, 300]], np.float32)
ONE_PERSON = 0.6
"""dlib's own threshold for the distance of two faces of one person."""

angles, scales, shifts = st.floats(-3, 3), st.floats(0.2, 5), st.floats(-100, 100)


@pytest.fixture(scope="module")
def net() -> DlibFace:
    return DlibFace.fetched()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return np.asarray(pytest.importorskip("skimage.data").astronaut())


def embedded(net, frame, box):
    return face_embeddings(net, frame[None], FaceMesh().track(frame[None], box))[0]


@given(st.integers(0, 2**32 - 1), angles, scales, shifts, shifts)
def test_a_similarity_is_found_again(seed, angle, scale, dx, dy):
    points = np.random.default_rng(seed).normal(size=(5, 2)) * 10
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wanted = points @ turn.T + [dx, dy]
    found = similarity(points, wanted)
    np.testing.assert_allclose(points @ found[:, :2].T + found[:, 2], wanted, atol=1e-6)


def test_a_similarity_does_not_mirror():
    points = np.array([[0.0, 0], [1, 0], [0, 2]])
    found = similarity(points, points * [-1, 1])
    assert np.linalg.det(found[:, :2]) > 0


def test_the_five_points_come_where_dlib_wants_them():
    """In a 150-pixel chip: outer eye corners at 111 and 37 across, 46 down; the nose at 74 across, 88 down."""
    frame = np.zeros((300, 300, 3), np.uint8)
    points = np.array([[200, 100], [170, 101], [100, 100], [130, 101], [150, 160]], np.float32)
    for x, y in points:
        frame[int(y) - 3 : int(y) + 3, int(x) - 3 : int(x) + 3] = 255
    chip = face_chip(frame, points)
    assert chip[46, 110:116].max() > 128
    assert chip[46, 35:42].max() > 128
    assert chip[84:92, 70:78].max() > 128
    assert chip[:30].max() == 0


@fetched
def test_one_person_is_near_and_two_are_far(net, astronaut):
    clip = read_video(assets_root() / "single_face.mp4").frames
    man, later = embedded(net, clip[0], SINGLE_BOX), embedded(net, clip[60], SINGLE_BOX)
    woman, mirrored = embedded(net, astronaut, ASTRONAUT_BOX), embedded(
        net, np.ascontiguousarray(astronaut[:, ::-1]), np.array([[240, 81, 334, 175]], np.float32)
    )
    assert np.linalg.norm(man - later) < ONE_PERSON
    assert np.linalg.norm(woman - mirrored) < ONE_PERSON
    assert min(np.linalg.norm(man - woman), np.linalg.norm(later - mirrored)) > ONE_PERSON
    assert 1.2 < np.linalg.norm(woman) < 1.6


@fetched
def test_brightness_hardly_changes_who_it_is(net, astronaut):
    plain = embedded(net, astronaut, ASTRONAUT_BOX)
    for factor in (0.6, 0.8, 1.2):
        other = embedded(net, np.clip(astronaut * factor, 0, 255).astype(np.uint8), ASTRONAUT_BOX)
        cosine = plain @ other / np.linalg.norm(plain) / np.linalg.norm(other)
        assert cosine > 0.98


@fetched
def test_a_batch_equals_its_faces(net, astronaut):
    frames = np.stack([astronaut, np.roll(astronaut, 5, axis=1), astronaut // 2])
    meshes = FaceMesh().track(frames, np.repeat(ASTRONAUT_BOX, 3, axis=0))
    meshes[1] = np.nan
    together = face_embeddings(net, frames, meshes)
    apart = np.concatenate([face_embeddings(net, frames[i : i + 1], meshes[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, apart, atol=1e-5)
    assert np.isnan(together[1]).all()
    assert np.isfinite(together[[0, 2]]).all()


@fetched
def test_embeddings_have_gradients(net):
    chip = torch.full((1, 3, 150, 150), 100.0, requires_grad=True)
    net(chip).sum().backward()
    assert torch.isfinite(chip.grad).all()
    assert chip.grad.abs().sum() > 0


def test_what_is_not_this_network_is_refused(tmp_path):
    weights, layout = tmp_path / "w.bin", tmp_path / "l.json"
    weights.write_bytes(b"123")
    layout.write_text(json.dumps([{"weights": [{"name": "fc", "shape": [3], "dtype": "float32"}]}]))
    with pytest.raises(UserError, match="not dlib's face network"):
        DlibFace.from_files(weights, layout)


@fetched
def test_the_mesh_lies_on_the_face(astronaut):
    mesh = FaceMesh().track(astronaut[None], ASTRONAUT_BOX)[0]
    left, _, right, _, nose = mesh[list(MESH_POINTS)]
    assert right[0] < nose[0] < left[0]
    assert max(left[1], right[1]) < nose[1]
    assert np.all((mesh > [170, 50]) & (mesh < [285, 200]))


@fetched
def test_no_face_has_no_mesh():
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    boxes = np.array([[np.nan] * 4, [10, 10, 40, 40]], np.float32)
    assert np.isnan(FaceMesh().track(frames, boxes)).all()
