"""Cues on the latent grid: masks keep their mean, gates their frames, disabled cues are null."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cues.spec import CueSpec, FaceCueSpec, LocationCueSpec, PoseCueSpec, TrustSpec
from directanimator.cues.triplet import DrivingCues, dropped, null_cues
from directanimator.data.spec import DataSpec
from directanimator.data.synthetic_items import synthetic_item
from directanimator.model.codec import PatchCodec, to_video
from directanimator.training.prepared import (
    CueArrays,
    cue_arrays,
    cue_latents,
    encode_cues,
    encode_frames,
    grid_mask,
    grouped_any,
    item_cues,
    null_arrays,
    without_disabled,
)

seeds = st.integers(0, 2**31)
counts = st.integers(0, 3).map(lambda k: 4 * k + 1)
specs = st.builds(
    lambda pose, face, location: CueSpec(
        pose=PoseCueSpec(enabled=pose), face=FaceCueSpec(enabled=face), location=LocationCueSpec(enabled=location)
    ),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@functools.cache
def codec() -> PatchCodec:
    torch.manual_seed(0)
    made = PatchCodec(latent_channels=16, width=16, num_blocks=2)
    return made.fit(torch.rand(900, 768) * 2 - 1).eval()


@st.composite
def driving_cues(draw: st.DrawFn) -> DrivingCues:
    frames, rng = draw(counts), np.random.default_rng(draw(seeds))
    shape = (frames, 16, 24)
    return DrivingCues(
        pose_cue=rng.integers(0, 256, draw(st.sampled_from([shape, (*shape, 3)])), np.uint8),
        face_cue=rng.integers(0, 256, (*shape, 3), np.uint8),
        body_location=rng.integers(0, 256, shape, np.uint8),
        face_location=rng.integers(0, 256, shape, np.uint8),
        pose_present=rng.random(frames) < 0.5,
        face_present=rng.random(frames) < 0.5,
    )


@st.composite
def arrays(draw: st.DrawFn) -> CueArrays:
    rng = np.random.default_rng(draw(seeds))
    return CueArrays(
        pose=rng.standard_normal((3, 4, 2, 3)).astype(np.float16),
        face=rng.standard_normal((3, 4, 2, 3)).astype(np.float16),
        masks=rng.uniform(0.01, 1, (3, 2, 16, 2, 3)).astype(np.float16),
        present=rng.random((3, 2)) < 0.5,
    )


def assert_equal(one: CueArrays, other: CueArrays) -> None:
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


@given(seeds, counts)
def test_masks_on_the_grid_lie_in_zero_to_one_and_keep_the_mean(seed: int, frames: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 256, (frames, 16, 24), np.uint8)
    grid = grid_mask(mask, 8)
    assert grid.min() >= 0
    assert grid.max() <= 1
    assert grid[0].mean() == pytest.approx(mask[0].mean() / 255, abs=1e-5)
    if frames > 1:
        assert grid[1:].mean() == pytest.approx(mask[1:].mean() / 255, abs=1e-5)


@given(st.sampled_from([0, 255]), counts)
def test_flat_masks_stay_flat(value: int, frames: int) -> None:
    grid = grid_mask(np.full((frames, 16, 24), value, np.uint8), 8)
    np.testing.assert_array_equal(grid, np.full((1 + frames // 4, 16, 2, 3), value / 255, np.float32))


@given(st.integers(0, 8), st.integers(0, 15), st.integers(0, 23), st.sampled_from([4, 8]))
def test_a_single_pixel_lands_in_its_own_frame_cell_and_part(frame: int, row: int, column: int, cell: int) -> None:
    mask = np.zeros((9, 16, 24), np.uint8)
    mask[frame, row, column] = 255
    times = range(4) if frame == 0 else [(frame - 1) % 4]
    part = 2 * (row % cell // (cell // 2)) + column % cell // (cell // 2)
    expected = [[-(-frame // 4), 4 * time + part, row // cell, column // cell] for time in times]
    assert np.argwhere(grid_mask(mask, cell)).tolist() == expected


@given(st.sets(st.integers(0, 12)))
def test_a_latent_frame_is_present_when_any_of_its_frames_is(present: set[int]) -> None:
    gate = np.isin(np.arange(13), list(present))
    assert set(np.flatnonzero(grouped_any(gate)).tolist()) == {-(-frame // 4) for frame in present}


@given(driving_cues())
def test_encoded_cues_are_zero_where_absent_and_latents_elsewhere(cues: DrivingCues) -> None:
    encoded = encode_cues(cues, codec())
    pose = np.broadcast_to(cues.pose_cue.reshape(*cues.pose_cue.shape[:3], -1), cues.face_cue.shape)
    for column, (told, pixels) in enumerate([(encoded.pose, pose.copy()), (encoded.face, cues.face_cue)]):
        latents, present = encode_frames(pixels, codec()), encoded.present[:, column]
        np.testing.assert_array_equal(told[present], latents[present])
        assert not told[~present].any()


@given(driving_cues())
def test_masks_are_stored_body_first(cues: DrivingCues) -> None:
    encoded = cue_latents([encode_cues(cues, codec())])
    np.testing.assert_allclose(encoded.body_mask[0], grid_mask(cues.body_location, codec().cell), atol=1e-3)
    np.testing.assert_allclose(encoded.face_mask[0], grid_mask(cues.face_location, codec().cell), atol=1e-3)


@given(driving_cues(), specs)
def test_a_disabled_cue_gives_the_arrays_of_a_null_cue(cues: DrivingCues, spec: CueSpec) -> None:
    assert_equal(without_disabled(encode_cues(cues, codec()), spec), encode_cues(dropped(cues, spec), codec()))


@given(driving_cues())
def test_null_arrays_are_those_of_null_cues(cues: DrivingCues) -> None:
    null = encode_cues(null_cues(cues.num_frames, cues.size), codec())
    assert_equal(null_arrays(encode_cues(cues, codec())), null)


@given(arrays())
def test_with_everything_enabled_nothing_changes(cues: CueArrays) -> None:
    assert_equal(without_disabled(cues, CueSpec()), cues)


@given(arrays(), st.sampled_from(["pose", "face", "location"]))
def test_disabling_one_cue_leaves_the_others(cues: CueArrays, name: str) -> None:
    part = getattr(CueSpec(), name).model_copy(update={"enabled": False})
    told = without_disabled(cues, CueSpec().model_copy(update={name: part}))
    for other in {"pose", "face", "location"} - {name}:
        field = "masks" if other == "location" else other
        np.testing.assert_array_equal(getattr(told, field), getattr(cues, field))
    assert not getattr(told, "masks" if name == "location" else name).any()


@given(arrays())
def test_a_stream_is_open_where_its_cue_or_its_mask_tells_something(cues: CueArrays) -> None:
    cues.masks[1:, 0] = 0
    cues.masks[:2, 1] = 0
    told = cue_latents([cues])
    np.testing.assert_array_equal(told.pose_present[0], cues.present[:, 0] | [True, False, False])
    np.testing.assert_array_equal(told.face_present[0], cues.present[:, 1] | [False, False, True])


@given(arrays())
def test_null_arrays_close_both_streams(cues: CueArrays) -> None:
    told = cue_latents([null_arrays(cues)])
    assert not any(bool(value.any()) for value in vars(told).values())


@given(st.lists(arrays(), min_size=2, max_size=3))
def test_a_batch_of_cues_is_its_items_stacked(items: list[CueArrays]) -> None:
    together = cue_latents(items)
    for field in dataclasses.fields(together):
        alone = torch.cat([getattr(cue_latents([item]), field.name) for item in items])
        assert torch.equal(getattr(together, field.name), alone)


@given(seeds, st.integers(0, 1), st.sampled_from(["own", "cross"]))
def test_cues_of_a_pool_are_those_of_item_and_setting(seed: int, index: int, setting: str) -> None:
    rng = np.random.default_rng(seed)
    pool = {
        f"{s}_{name}": rng.random((2, 3, 4, 2, 3)).astype(np.float16)
        for s in ("own", "cross")
        for name in ("pose", "face", "masks")
    } | {f"{s}_present": rng.random((2, 3, 2)) < 0.5 for s in ("own", "cross")}
    pool |= {f"{s}_masks": rng.random((2, 3, 2, 4, 2, 3)).astype(np.float16) for s in ("own", "cross")}
    for name, value in vars(cue_arrays(pool, index, setting)).items():
        np.testing.assert_array_equal(value, pool[f"{setting}_{name}"][index])


@given(seeds, counts)
def test_encoded_frames_are_the_codecs_latents(seed: int, frames: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, 16, 24, 3), np.uint8)
    with torch.no_grad():
        expected = codec().encode(to_video(pixels))[0]
    np.testing.assert_allclose(encode_frames(pixels, codec()), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("trust", [None, TrustSpec()])
def test_masks_of_an_item_are_trusted_as_it_says(trust: TrustSpec | None) -> None:
    item = synthetic_item("train", 0, DataSpec(size=32, latent_frames=2))
    tracks = {
        name: dataclasses.replace(track, score=np.full_like(track.score, 0.1))
        for name, track in (("own_track", item.own_track), ("driving_track", item.driving_track))
    }
    for cues in item_cues(dataclasses.replace(item, trust=trust, **tracks), 32, CueSpec()):
        assert cues.pose_present.any() == (trust is None)
