"""Codec laws: causal groups, patches without loss, an exact linear part, a repair that starts as nothing."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from directanimator.model.codec import (
    PatchCodec,
    from_groups,
    from_patches,
    to_frames,
    to_groups,
    to_patches,
    to_video,
)

seeds = st.integers(0, 2**31)
frame_counts = st.integers(0, 2).map(lambda k: 4 * k + 1)


def video_of(seed: int, frames: int = 5, batch: int = 1, size: int = 16) -> Tensor:
    shape = (batch, frames, 3, size, size + 8)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def codec_of(channels: int, seed: int, trained: bool) -> PatchCodec:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    codec = PatchCodec(latent_channels=channels, width=16, num_blocks=2)
    codec.fit(torch.rand(1000, 768, generator=generator) * 2 - 1)
    if trained:
        for parameter in codec.parameters():
            torch.nn.init.normal_(parameter, std=0.05, generator=generator)
    return codec.eval()


@functools.cache
def small(trained: bool) -> PatchCodec:
    return codec_of(16, 0, trained)


@functools.cache
def lossless() -> PatchCodec:
    return codec_of(768, 1, trained=False)


@given(seeds, frame_counts, st.integers(1, 2))
def test_groups_hold_the_whole_video(seed: int, frames: int, batch: int) -> None:
    video = video_of(seed, frames, batch)
    torch.testing.assert_close(from_groups(to_groups(video)), video)


@given(seeds, frame_counts)
def test_later_groups_hold_four_frames_each_in_order(seed: int, frames: int) -> None:
    video = video_of(seed, frames)
    groups = to_groups(video)
    assert torch.equal(groups[:, 0], video[:, :1].expand(-1, 4, -1, -1, -1))
    assert torch.equal(groups[:, 1:].flatten(1, 2), video[:, 1:])


@given(seeds, frame_counts)
def test_patches_hold_the_whole_group(seed: int, frames: int) -> None:
    groups = to_groups(video_of(seed, frames))
    assert torch.equal(from_patches(to_patches(groups)), groups)


@given(seeds, st.integers(0, 1), st.integers(0, 2))
def test_a_patch_holds_the_pixels_of_its_cell(seed: int, row: int, column: int) -> None:
    groups = to_groups(video_of(seed))
    cell = groups[0, 1, :, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
    assert torch.equal(to_patches(groups)[0, 1, row, column], cell.flatten())


@given(st.integers(0, 20).filter(lambda n: n % 4 != 1))
@pytest.mark.usefixtures("unchecked_shapes")
def test_other_frame_counts_than_4k_plus_1_are_refused(frames: int) -> None:
    with pytest.raises(ValueError, match=rf"4k \+ 1 frames, got {frames}; trim or pad"):
        small(trained=False).encode(torch.zeros(1, frames, 3, 16, 16))


@given(st.integers(1, 40).filter(lambda n: n % 8 != 0))
def test_sides_that_are_no_multiple_of_8_are_refused(side: int) -> None:
    with pytest.raises(ValueError, match=r"multiples of 8.*resize"):
        small(trained=False).encode(torch.zeros(1, 1, 3, 16, side))


@given(seeds, st.integers(1, 2).map(lambda k: 4 * k + 1))
@torch.no_grad()
def test_the_first_latent_is_that_of_the_first_frame_alone(seed: int, frames: int) -> None:
    video, codec = video_of(seed, frames), small(trained=True)
    torch.testing.assert_close(codec.encode(video)[:, :1], codec.encode(video[:, :1]), rtol=1e-4, atol=1e-4)


@given(seeds)
@torch.no_grad()
def test_latents_of_a_still_clip_all_equal_the_first(seed: int) -> None:
    video, codec = video_of(seed, 1).expand(-1, 9, -1, -1, -1), small(trained=True)
    latents = codec.encode(video)
    torch.testing.assert_close(latents, latents[:, :1].expand_as(latents), rtol=1e-4, atol=1e-4)


@given(seeds, frame_counts)
@torch.no_grad()
def test_shapes_follow_the_causal_layout(seed: int, frames: int) -> None:
    video, codec = video_of(seed, frames), small(trained=True)
    latents = codec.encode(video)
    assert latents.shape == (1, 1 + (frames - 1) // 4, 16, 2, 3)
    assert codec.decode(latents).shape == video.shape


@given(seeds)
@torch.no_grad()
def test_with_all_channels_the_linear_part_is_inverted_exactly(seed: int) -> None:
    video, codec = video_of(seed), lossless()
    torch.testing.assert_close(from_groups(codec.linear_decode(codec.encode(video))), video, rtol=0, atol=2e-4)


@given(seeds)
@torch.no_grad()
def test_fewer_channels_keep_the_nearest_video(seed: int) -> None:
    video, codec = video_of(seed), small(trained=False)
    projected = codec.linear_decode(codec.encode(video))
    residual = to_patches(to_groups(video) - projected)
    assert (residual @ codec.basis).abs().max() < 1e-3


@given(seeds)
@torch.no_grad()
def test_encoding_a_batch_equals_encoding_its_items(seed: int) -> None:
    video, codec = video_of(seed, batch=3), small(trained=True)
    alone = torch.cat([codec.encode(item) for item in video.split(1)])
    torch.testing.assert_close(codec.encode(video), alone, rtol=1e-4, atol=1e-4)


@given(seeds)
@torch.no_grad()
def test_the_repair_starts_as_no_change(seed: int) -> None:
    latents = torch.randn(1, 2, 16, 2, 3, generator=torch.Generator().manual_seed(seed))
    codec = small(trained=False)
    assert torch.equal(codec.repaired_groups(latents), codec.linear_decode(latents))
    assert not torch.equal(small(trained=True).repaired_groups(latents), small(trained=True).linear_decode(latents))


@given(seeds, st.floats(1, 100))
@torch.no_grad()
def test_decoded_video_stays_in_range(seed: int, scale: float) -> None:
    latents = torch.randn(1, 2, 16, 2, 3, generator=torch.Generator().manual_seed(seed)) * scale
    assert small(trained=True).decode(latents).abs().max() <= 1


@given(st.floats(0, 1), seeds)
@torch.no_grad()
def test_latents_of_the_fitted_patches_have_unit_mean_square(whitening: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codec = PatchCodec(latent_channels=16, width=16, num_blocks=2)
    groups = torch.randn(4, 4, 4, 3, 24, 24, generator=generator) * torch.linspace(0.1, 1, 24)
    patches = to_patches(groups).flatten(0, 3)
    codec.fit(patches, whitening)
    latents = (patches - codec.mean) @ codec.basis / codec.scale
    assert float(latents.square().mean()) == pytest.approx(1, abs=1e-3)


@given(seeds, st.integers(0, 2))
def test_bytes_survive_the_way_through_float(seed: int, batch: int) -> None:
    lead = (batch,) if batch else ()
    frames = np.random.default_rng(seed).integers(0, 256, (*lead, 2, 3, 5, 3), np.uint8)
    video = to_video(frames)
    assert video.shape == (batch or 1, 2, 3, 3, 5)
    np.testing.assert_array_equal(to_frames(video).reshape(frames.shape), frames)


@given(st.integers(0, 255))
def test_float_video_is_linear_in_bytes_from_minus_one_to_one(value: int) -> None:
    video = to_video(np.full((1, 1, 1, 3), value, np.uint8))
    assert float(video.flatten()[0]) == pytest.approx(value / 255 * 2 - 1, abs=1e-6)


@torch.no_grad()
def test_a_codec_survives_being_saved_and_loaded(tmp_path: Path) -> None:
    codec, video = small(trained=True), video_of(3)
    codec.save_pretrained(tmp_path)
    again = PatchCodec.from_pretrained(tmp_path, torch_dtype=torch.float32).eval()
    assert torch.equal(again.encode(video), codec.encode(video))
