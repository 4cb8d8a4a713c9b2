"""Networks from files that a person brings, here with random weights in the published formats."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.models.inception as torchvision_inception
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models import alexnet

from directanimator import places
from directanimator.errors import UserError
from directanimator.metrics.catalog import METRICS, chosen
from directanimator.metrics.features import EXTRACTORS
from directanimator.metrics.local_weights import ALEXNET, ARCFACE, DWPOSE_DETECTOR, DWPOSE_POSE, INCEPTION
from directanimator.metrics.networks.alexnet import CHANNELS, LpipsAlexNet, lpips
from directanimator.metrics.networks.arcface import ArcFace, arcface_chip, arcface_embeddings
from directanimator.metrics.networks.dwpose import (
    NUM_POINTS,
    POSE_HEIGHT,
    POSE_WIDTH,
    STRIDES,
    DwPose,
    distinct,
    from_simcc,
    people,
    region,
)
from directanimator.metrics.networks.inception import FidInception, _MaxPooled, _over_the_inside, inception_features
from tests.strategies import seeds

onnx = pytest.importorskip("onnx")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(places.WEIGHTS_VARIABLE, str(tmp_path))
    return tmp_path


def clip(seed, frames=2, side=40):
    return np.random.default_rng(seed).integers(0, 256, (frames, side, side, 3), np.uint8)


def write_graph(path, nodes, inputs, outputs, constants=()):
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in dict(constants).items()]
    described = [[helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in values.items()]
                 for values in (inputs, outputs)]  # fmt: skip
    graph = helper.make_graph(nodes, "tiny", *described, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


# ---------------------------------------------------------------- what is there


def test_metrics_of_files_that_are_not_there_are_left_out_of_all(weights):
    names = {metric.name for metric in chosen("all")}
    assert not names & {"fid", "kid", "lpips", "fis_arcface", "plc_dwpose", "flc_dwpose"}
    (weights / INCEPTION.names[0]).write_bytes(b"x")
    assert {metric.name for metric in chosen("all")} - names == {"fid", "kid"}
    assert [metric.name for metric in chosen("fid,lpips")] == ["lpips", "fid"]


@pytest.mark.parametrize("network", sorted(name for name, found in EXTRACTORS.items() if found.files))
def test_the_weights_of_a_protocol_are_those_of_the_files(weights, network):
    files = EXTRACTORS[network].files
    seen = set()
    for spoiled in range(len(files) + 1):
        for index, file in enumerate(files):
            (weights / file.names[0]).write_bytes(b"other!" if index == spoiled else b"weights")
        seen.add(EXTRACTORS[network].weights)
    assert len(seen) == len(files) + 1
    assert any(network in (metric.network, *metric.features) for metric in METRICS)


# ---------------------------------------------------------------- FID


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("inception") / INCEPTION.names[0]
    torch.save(FidInception().net.state_dict(), path)
    return path


@given(seeds(), st.integers(1, 9), st.integers(1, 9))
def test_the_average_does_not_count_the_zeros_around_the_map(seed, height, width):
    maps = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 3, height, width)))
    wanted = F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
    found = _over_the_inside(torch.nn.Identity(), (F.avg_pool2d(maps, 3, stride=1, padding=1),))
    torch.testing.assert_close(found, wanted)


@torch.no_grad()
def test_blocks_are_torchvisions_with_the_pooling_of_tensorflow(inception_file, monkeypatch):
    ours = FidInception.from_file(inception_file)
    theirs = torchvision_inception.inception_v3(
        weights=None, aux_logits=False, init_weights=False, transform_input=False, num_classes=1008
    )
    theirs.load_state_dict(torch.load(inception_file, weights_only=True))
    theirs.eval()
    maps = torch.randn(1, 192, 6, 6)
    assert not torch.allclose(ours.net.Mixed_5b(maps), theirs.Mixed_5b(maps))
    inside = functools.partial(F.avg_pool2d, count_include_pad=False)
    found = [ours.net.Mixed_5b(maps), ours.net.Mixed_6b(torch.ones(1, 768, 5, 5))]
    last = torch.randn(1, 2048, 4, 4)
    found.append(ours.net.Mixed_7c(last))
    monkeypatch.setattr(torchvision_inception.F, "avg_pool2d", inside)
    close = functools.partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
    close(found[0], theirs.Mixed_5b(maps))
    close(found[1], theirs.Mixed_6b(torch.ones(1, 768, 5, 5)))
    monkeypatch.setattr(torchvision_inception.F, "avg_pool2d", F.max_pool2d)
    close(found[2], theirs.Mixed_7c(last))
    assert isinstance(ours.net.Mixed_7c, _MaxPooled)


@pytest.mark.slow
def test_a_batch_of_frames_equals_its_frames(inception_file):
    net, frames = FidInception.from_file(inception_file), clip(1)
    together = inception_features(net, frames)
    apart = np.concatenate([inception_features(net, frames[index : index + 1]) for index in range(2)])
    assert together.shape == (2, 2048)
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-6)
    assert not np.allclose(together[0], together[1], rtol=1e-3)


def test_torchvisions_own_inception_is_not_taken_for_fids(tmp_path):
    path = tmp_path / "inception.pth"
    torch.save({"fc.bias": torch.zeros(1000)}, path)
    with pytest.raises(UserError, match=r"1000 classes, not FID's of 1008.*pytorch-fid"):
        FidInception.from_file(path)


BROKEN = {"no file of weights": b"nothing", "an empty file": b""}


@pytest.mark.parametrize("kind", sorted(BROKEN))
@pytest.mark.parametrize("load", [FidInception.from_file, lambda path: LpipsAlexNet.from_files(path, path)])
def test_what_holds_no_weights_is_refused_in_one_line(tmp_path, kind, load):
    path = tmp_path / "broken.pth"
    path.write_bytes(BROKEN[kind])
    with pytest.raises(UserError, match=r"broken\.pth: not a file of weights") as refusal:
        load(path)
    assert "\n" not in str(refusal.value)


# ---------------------------------------------------------------- LPIPS


@pytest.fixture(scope="module")
def layers() -> torch.nn.Sequential:
    torch.manual_seed(1)
    with torch.device("meta"):
        empty = alexnet(weights=None).features
    found = empty.to_empty(device="cpu")
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return found


@pytest.fixture(scope="module")
def lpips_files(layers, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("lpips")
    stored = {f"features.{name}": value for name, value in layers.state_dict().items()}
    torch.save(stored | {"classifier.6.bias": torch.zeros(1000)}, folder / ALEXNET.names[0])
    linear = {f"lin{index}.model.1.weight": torch.rand(1, count, 1, 1) for index, count in enumerate(CHANNELS)}
    torch.save(linear, folder / "lpips_alex.pth")
    return folder / ALEXNET.names[0], folder / "lpips_alex.pth"


@torch.no_grad()
def test_lpips_is_the_formula_of_its_paper(layers, lpips_files):
    first, second = clip(1), clip(2)
    linear = torch.load(lpips_files[1], weights_only=True)
    total = np.zeros(2)
    maps = []
    for frames in (first, second):
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        net, found = (pixels - shift[:, None, None]) / scale[:, None, None], []
        for layer in layers[:12]:
            net = layer(net).clone()
            if isinstance(layer, torch.nn.ReLU):
                found.append(net)
        maps.append(found)
    for index in range(5):
        one, other = (F.normalize(several[index], dim=1) for several in maps)
        total += F.conv2d((one - other) ** 2, linear[f"lin{index}.model.1.weight"]).mean(dim=(1, 2, 3)).numpy()
    net = LpipsAlexNet.from_files(*lpips_files)
    assert lpips(net, first, second) == pytest.approx(total.mean(), rel=1e-4)


@given(seeds())
def test_lpips_is_zero_for_equal_clips_alone_and_symmetric(lpips_files, seed):
    net = LpipsAlexNet.from_files(*lpips_files)
    first, second = clip(seed, 1), clip(seed + 1, 1)
    assert lpips(net, first, first) == 0
    assert lpips(net, first, second) == lpips(net, second, first) > 0


def test_lpips_says_what_is_too_small_and_what_is_the_wrong_file(lpips_files):
    net = LpipsAlexNet.from_files(*lpips_files)
    with pytest.raises(ValueError, match="at least 31 pixels"):
        lpips(net, clip(0, side=30), clip(1, side=30))
    assert lpips(net, clip(0, side=31), clip(1, side=31)) > 0
    with pytest.raises(UserError, match="lin0 is missing"):
        LpipsAlexNet.from_files(lpips_files[0], lpips_files[0])
    with pytest.raises(UserError, match="not the weights of AlexNet"):
        LpipsAlexNet.from_files(lpips_files[1], lpips_files[1])


# ---------------------------------------------------------------- ArcFace


@pytest.fixture
def mean_color(tmp_path) -> ArcFace:
    """A network whose embedding is the mean color of the face as it is given."""
    node = helper.make_node("ReduceMean", ["face"], ["embedding"], axes=[2, 3], keepdims=0)
    path = tmp_path / ARCFACE.names[0]
    write_graph(path, [node], {"face": ["n", 3, 112, 112]}, {"embedding": ["n", 3]})
    return ArcFace(path)


def test_arcface_is_given_rgb_between_minus_one_and_one(mean_color):
    chips = clip(3, 2, side=112)
    wanted = chips.reshape(2, -1, 3).mean(axis=1) / 127.5 - 1
    np.testing.assert_allclose(mean_color.embed(chips), wanted, atol=1e-5)


def test_faces_that_are_not_found_have_no_embedding(mean_color):
    meshes = np.random.default_rng(0).uniform(5, 35, (3, 468, 2)).astype(np.float32)
    meshes[1] = np.nan
    found = arcface_embeddings(mean_color, clip(0, 3), meshes)
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False]
    alone = arcface_embeddings(mean_color, clip(0, 3)[2:], meshes[2:])
    np.testing.assert_allclose(found[2], alone[0], atol=1e-6)
    assert np.isnan(arcface_embeddings(mean_color, clip(0, 1), meshes[1:2])).all()


@given(st.floats(-0.5, 0.5), st.floats(1.0, 2.0), st.floats(100, 140), st.floats(100, 140))
def test_the_five_points_come_where_arcface_wants_them(turn, scale, x, y):
    """However the face lies in the frame: eyes at (38, 52) and (74, 52), nose (56, 72), mouth (42, 92) and (71, 92)."""
    wanted = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])
    turned = (wanted - wanted.mean(axis=0)) @ np.array(
        [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    ) * scale + [x, y]
    mesh = np.zeros((468, 2), np.float32)
    for members, point in zip(((33, 133), (263, 362), (1,), (61,), (291,)), turned, strict=True):
        mesh[list(members)] = point
    for place, point in zip(wanted, turned, strict=True):
        frame = np.zeros((240, 240, 3), np.uint8)
        column, row = (int(value) for value in point)
        frame[row - 3 : row + 3, column - 3 : column + 3] = 255
        weight = arcface_chip(frame, mesh)[..., 0].astype(float)
        found = [(weight.sum(axis=axis) * np.arange(112)).sum() / weight.sum() for axis in (0, 1)]
        assert found == pytest.approx(place.tolist(), abs=1.5)


def test_what_is_no_arcface_is_refused(tmp_path):
    node = helper.make_node("ReduceMean", ["face"], ["embedding"], axes=[2, 3], keepdims=0)
    other, broken = tmp_path / "other.onnx", tmp_path / "broken.onnx"
    write_graph(other, [node], {"face": ["n", 3, 64, 64]}, {"embedding": ["n", 3]})
    broken.write_bytes(b"no graph")
    with pytest.raises(UserError, match="not ArcFace, which takes 3x112x112"):
        ArcFace(other)
    with pytest.raises(UserError, match="not an ONNX network"):
        ArcFace(broken)


# ---------------------------------------------------------------- DWPose

CELLS = sum((640 // stride) ** 2 for stride in STRIDES)


def raw_cells(boxes, scores=None, cls=0):
    """A detector's output that says these boxes, each in the cell of stride 8 that holds its center."""
    raw = np.zeros((CELLS, 85), np.float32)
    raw[:, 2:4] = -5
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        x, y = (x0 + x1) / 2 / 8, (y0 + y1) / 2 / 8
        cell = int(y) * 80 + int(x)
        raw[cell, :4] = x - int(x), y - int(y), np.log((x1 - x0) / 8), np.log((y1 - y0) / 8)
        raw[cell, 4], raw[cell, 5 + cls] = (1 if scores is None else scores[number]), 1
    return raw


corners = st.tuples(st.floats(4, 300), st.floats(4, 300), st.floats(8, 300), st.floats(8, 300)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@given(corners, st.floats(0.31, 1))
def test_a_person_is_read_from_the_cell_that_holds_it(box, score):
    boxes, scores = people(raw_cells([box], [score]))
    np.testing.assert_allclose(boxes, [box], atol=1e-2)
    assert scores == pytest.approx([score])
    assert len(people(raw_cells([box], [score], cls=3))[0]) == 0
    assert len(people(raw_cells([box], [0.29]))[0]) == 0


@given(st.integers(0, 2), st.integers(0, 399))
def test_every_cell_stands_for_its_place_in_the_picture(level, number):
    start = sum((640 // stride) ** 2 for stride in STRIDES[:level])
    raw = np.zeros((CELLS, 85), np.float32)
    raw[start + number, 4:6] = 1
    count, stride = 640 // STRIDES[level], STRIDES[level]
    boxes, _ = people(raw)
    center = np.array([number % count, number // count]) * stride
    np.testing.assert_allclose(boxes, [[*(center - stride / 2), *(center + stride / 2)]])


def overlap(a, b):
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@given(st.lists(st.tuples(corners, st.floats(0, 1)), max_size=8))
def test_of_boxes_that_overlap_the_surest_stays(found):
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in found], np.float32)
    kept = distinct(boxes, scores).tolist()
    for index in range(len(boxes)):
        rivals = [other for other in kept if other != index and overlap(boxes[index], boxes[other]) > 0.45 + 1e-4]
        near = [other for other in kept if other != index and overlap(boxes[index], boxes[other]) > 0.45 - 1e-4]
        if index in kept:
            assert not rivals
        else:
            assert any(scores[other] >= scores[index] for other in near)


@given(st.lists(st.tuples(st.integers(0, 575), st.integers(0, 767), st.floats(0.01, 1), st.floats(0.01, 1)),
                min_size=1, max_size=5))  # fmt: skip
def test_a_place_is_half_the_surest_bin_and_no_surer_than_either_axis(wanted):
    across, down = np.zeros((len(wanted), 576), np.float32), np.zeros((len(wanted), 768), np.float32)
    for index, (x, y, sure_x, sure_y) in enumerate(wanted):
        across[index, x], down[index, y] = sure_x, sure_y
    places_found, scores = from_simcc(across, down)
    assert places_found.tolist() == [[x / 2, y / 2] for x, y, _, _ in wanted]
    assert scores == pytest.approx([min(sure_x, sure_y) for _, _, sure_x, sure_y in wanted])


@given(corners)
def test_the_landmark_net_looks_at_the_person_and_a_margin_in_its_own_shape(box):
    center, size = region(np.array(box))
    assert center == pytest.approx([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    assert size[0] / size[1] == pytest.approx(288 / 384)
    wanted = [(box[2] - box[0]) * 1.25, (box[3] - box[1]) * 1.25]
    assert np.all(size >= np.array(wanted) - 1e-6)
    assert np.min(size - np.array(wanted)) == pytest.approx(0, abs=1e-6)


def write_dwpose(folder, box):
    """A detector that always sees `box` (in its square), and a net whose landmarks are all at the brightest place."""
    raw = raw_cells([box] if box else [])[None]
    node = helper.make_node("Expand", ["zero", "cells"], ["seen"])
    add = helper.make_node("Add", ["seen", "raw"], ["dets"])
    pick = [helper.make_node("ReduceMax", ["picture"], ["brightest"], axes=[0, 1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["brightest", "nothing"], ["zero"])]  # fmt: skip
    write_graph(
        folder / DWPOSE_DETECTOR.names[0], [*pick, node, add], {"picture": [1, 3, 640, 640]}, {"dets": [1, CELLS, 85]},
        {"raw": raw, "cells": np.array([1, CELLS, 85]), "nothing": np.zeros((), np.float32)},
    )  # fmt: skip
    nodes = []
    for name, axis in (("x", 2), ("y", 3)):
        nodes += [
            helper.make_node("ReduceMax", ["picture"], [f"{name}1"], axes=[1, axis], keepdims=0),
            helper.make_node("Reshape", [f"{name}1", f"{name}_column"], [f"{name}2"]),
            helper.make_node("Expand", [f"{name}2", f"{name}_twice"], [f"{name}3"]),
            helper.make_node("Reshape", [f"{name}3", f"{name}_line"], [f"{name}4"]),
            helper.make_node("Expand", [f"{name}4", f"{name}_all"], [f"simcc_{name}"]),
        ]
    shapes = {}
    for name, length in (("x", POSE_WIDTH), ("y", POSE_HEIGHT)):
        shapes |= {
            f"{name}_column": np.array([1, 1, length, 1]), f"{name}_twice": np.array([1, 1, length, 2]),
            f"{name}_line": np.array([1, 1, 2 * length]), f"{name}_all": np.array([1, NUM_POINTS, 2 * length]),
        }  # fmt: skip
    write_graph(
        folder / DWPOSE_POSE.names[0], nodes, {"picture": [1, 3, POSE_HEIGHT, POSE_WIDTH]},
        {"simcc_x": [1, NUM_POINTS, 2 * POSE_WIDTH], "simcc_y": [1, NUM_POINTS, 2 * POSE_HEIGHT]}, shapes,
    )  # fmt: skip
    return DwPose(folder / DWPOSE_DETECTOR.names[0], folder / DWPOSE_POSE.names[0])


@pytest.mark.parametrize(("height", "width"), [(320, 320), (400, 300), (200, 640)])
def test_a_spot_in_the_frame_is_found_where_it_is(tmp_path, height, width):
    scale = 640 / max(height, width)
    box = (0.1 * width * scale, 0.1 * height * scale, 0.9 * width * scale, 0.9 * height * scale)
    net = write_dwpose(tmp_path, box)
    spots = [(0.3 * width, 0.4 * height), (0.7 * width, 0.6 * height)]
    frames = np.zeros((2, height, width, 3), np.uint8)
    for frame, (x, y) in zip(frames, spots, strict=True):
        frame[int(y) - 4 : int(y) + 4, int(x) - 4 : int(x) + 4] = 255
    found = net.track(frames)
    assert found.shape == (2, NUM_POINTS, 2)
    for points, (x, y) in zip(found, spots, strict=True):
        assert np.abs(points - [int(x), int(y)]).max() <= 6
        assert np.ptp(points, axis=0).max() == 0


def test_nobody_has_no_landmarks_and_a_dark_picture_no_sure_ones(tmp_path):
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    (tmp_path / "one").mkdir()
    (tmp_path / "none").mkdir()
    assert np.isnan(write_dwpose(tmp_path / "none", None).track(frames + 255)).all()
    assert np.isnan(write_dwpose(tmp_path / "one", (100, 100, 400, 400)).track(frames)).all()


def test_files_of_dwpose_that_are_swapped_are_refused(tmp_path):
    write_dwpose(tmp_path, None)
    with pytest.raises(UserError, match="not the network of DWPose, which takes 3x640x640 and gives 1 output;"):
        DwPose(tmp_path / DWPOSE_POSE.names[0], tmp_path / DWPOSE_DETECTOR.names[0])
