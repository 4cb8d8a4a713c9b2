"""Clips in memory are measured as clips on disk are, and the protocol says what they were compared with."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from directanimator.errors import UserError
from directanimator.metrics import features, measurement
from directanimator.metrics.catalog import BY_NAME, chosen
from directanimator.metrics.clip_folder import Clip
from directanimator.metrics.features import Extractor, Networks
from directanimator.metrics.folders import Folders, measure
from directanimator.metrics.measurement import measure_clips
from directanimator.metrics.protocol import compare
from tests.strategies import seeds

PLAIN = "l1,psnr,ssim,flicker,color_drift"
SIDE = 12


def frames(seed, count=3):
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def clips(seed, count=5, **others):
    return {
        f"clip_{number}": {
            "generated": Clip(frames(seed + number), 8.0, "none"),
            "target": Clip(frames(seed + 50 + number), 8.0, "none"),
            **{role: Clip(frames(shift + number), 8.0, "none") for role, shift in others.items()},
        }
        for number in range(count)
    }


def values(found):
    return {result.metric.name: result.value for result in found.results}


def ids(found):
    return {result.metric.name: result.protocol.id for result in found.results}


def test_clips_in_memory_get_the_values_of_the_same_clips_on_disk(tmp_path):
    for name, roles in clips(3).items():
        for role, clip in roles.items():
            (tmp_path / role / name).mkdir(parents=True)
            for index, frame in enumerate(clip.frames):
                Image.fromarray(frame).save(tmp_path / role / name / f"{index}.png")
    folders = Folders({"generated": tmp_path / "generated", "target": tmp_path / "target"})
    on_disk, in_memory = measure(folders, chosen(PLAIN)), measure_clips(clips(3), chosen(PLAIN))
    assert values(in_memory) == values(on_disk)
    assert [result.clips for result in in_memory.results] == [result.clips for result in on_disk.results]
    digests = {result.protocol.target for found in (on_disk, in_memory) for result in found.results}
    assert len(digests) == 1
    with pytest.raises(UserError, match="differ in decoder"):
        compare(on_disk.results[0].protocol, in_memory.results[0].protocol)


@given(seeds(), st.permutations(range(5)))
def test_the_order_of_clips_changes_neither_values_nor_protocols(seed, order):
    made = clips(seed)
    names = sorted(made)
    turned = {names[index]: made[names[index]] for index in order}
    first, second = measure_clips(made, chosen(PLAIN)), measure_clips(turned, chosen(PLAIN))
    assert values(second) == pytest.approx(values(first), rel=1e-12)
    assert ids(second) == ids(first)


def test_a_clip_without_value_is_counted_and_named():
    made = clips(0)
    made["clip_2"] = {role: Clip(clip.frames[:1], 8.0, "none") for role, clip in made["clip_2"].items()}
    found = measure_clips(made, chosen("psnr,flicker"))
    assert [(one.clip, one.where) for one in found.failures] == [("clip_2", "flicker")]
    counts = {result.metric.name: result.protocol.clips for result in found.results}
    assert counts == {"psnr": 5, "flicker": 4}
    assert math.isnan(found.results[1].clips["clip_2"])


class Nobody(Networks):
    """Networks that are never looked at."""


def eyes(networks, pixels, known, window):
    points = pixels.astype(np.float32)[:, :5, 0, :2]
    return {"person.landmarks": points, "person.mask": pixels[..., 0], "person.mesh": points}


def faces(networks, pixels, known, window):
    return {"dlib_face.embedding": pixels.astype(np.float32).mean(axis=(1, 2))}


@pytest.fixture
def stubs(monkeypatch):
    found = {
        "person": Extractor("person", 1, ("face_landmark",), eyes, lambda nets: None),
        "dlib_face": Extractor("dlib_face", 1, ("dlib_face",), faces, lambda nets: None, after=("person",)),
    }
    monkeypatch.setattr(features, "EXTRACTORS", found)
    monkeypatch.setattr(measurement, "EXTRACTORS", found)


LOOKED_AT = {
    "driving": {"plc", "plc_person", "joint_recall", "flc"},
    "reference": {"fis_dlib_reference"},
}


@pytest.mark.parametrize("role", sorted(LOOKED_AT))
def test_other_clips_of_a_role_change_the_protocol_of_the_metrics_that_look_at_them(stubs, role):
    names = [name for name, one in BY_NAME.items() if not one.network and {*one.features} <= features.EXTRACTORS.keys()]
    everyone = [clips(0, **{"driving": 100, "reference": 200, role: shift}) for shift in (300, 400)]
    first, second = (measure_clips(several, chosen(",".join(names)), networks=Nobody()) for several in everyone)
    assert {name for name in names if ids(first)[name] != ids(second)[name]} == LOOKED_AT[role]


@pytest.mark.parametrize("name", ["person", "dlib_face"])
def test_another_version_of_whoever_looks_first_is_another_protocol(stubs, monkeypatch, name):
    """Who finds the face decides in which frames there is one, and how it is aligned."""
    metrics = chosen("psnr,plc,fis_dlib,fts_dlib")
    before = measure_clips(clips(0), metrics, networks=Nobody())
    bumped = dataclasses.replace(features.EXTRACTORS[name], version=2)
    monkeypatch.setitem(features.EXTRACTORS, name, bumped)
    after = measure_clips(clips(0), metrics, networks=Nobody())
    changed = {metric for metric, protocol in ids(before).items() if ids(after)[metric] != protocol}
    assert changed == {"plc", "fis_dlib", "fts_dlib"} - ({"plc"} if name == "dlib_face" else set())


def test_a_missing_role_leaves_out_the_metrics_that_need_it(stubs):
    found = measure_clips(clips(0), chosen("psnr,fis_dlib_reference"), networks=Nobody())
    assert list(values(found)) == ["psnr"]
    assert found.unavailable == {"fis_dlib_reference": "needs reference=DIR"}
