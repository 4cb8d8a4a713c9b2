"""What the items of a split are made of, whatever a variant is trained on; and where its cross-ID pairs come from."""

import functools
from multiprocessing import current_process
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.data.folder_items import videos_digest
from directanimator.data.items import AnimationItem
from directanimator.data.pseudo_pairs import PAIRS_FILE, PseudoPair, PseudoPairs
from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import Split
from directanimator.errors import UserError
from directanimator.extraction.recorded import FRAME_ARRAYS
from directanimator.extraction.store import Store
from directanimator.places import cues_root
from experiments import pools
from experiments.edit import edit
from experiments.pools import BASE_TAG, PAIRS_TAG, VIDEOS_TAG, check_pairs, item_maker, origin_tags, pool_directory
from experiments.presets import PRESETS
from experiments.spec import ExperimentSpec
from tests.published import WAN_SHAPE, WAN_SHIFT, write_wan

TRUE = DataSpec(size=32, latent_frames=1)
PSEUDO = TRUE.model_copy(update={"cue_quality": "pseudo", "cue_strength": 0.8})


def drivers(split: Split) -> tuple[AnimationItem, AnimationItem]:
    true, pseudo = (item_maker(split, spec, "gray")(2) for spec in (TRUE, PSEUDO))
    return true, pseudo


@pytest.mark.parametrize("split", ["val", "test"])
def test_every_variant_is_tested_on_the_same_drivers(split: Split) -> None:
    true, pseudo = drivers(split)
    np.testing.assert_array_equal(true.driving, pseudo.driving)
    np.testing.assert_array_equal(true.driving_track.mask, pseudo.driving_track.mask)


def test_only_training_sees_degraded_drivers() -> None:
    true, pseudo = drivers("train")
    assert not np.array_equal(true.driving, pseudo.driving)
    np.testing.assert_array_equal(true.target, pseudo.target)


def on_folder(folder: Path, share: float) -> ExperimentSpec:
    edits = {"data.source": "folder", "data.folder": str(folder), "evaluation.subsets": ("self",)}
    return edit(PRESETS["smoke"].spec, {**edits, "cross_id.same_id_share": share})


def pair_up(folder: Path, *digits: str) -> None:
    pairs = [PseudoPair(video="a.mp4", reference=f"{d}.mp4", clip=f"{d}.mp4", sha256=d * 64) for d in digits]
    (folder / PAIRS_FILE).write_text(PseudoPairs(pairs=tuple(pairs)).model_dump_json())


def test_cross_id_training_on_videos_needs_pairs_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    check_pairs(PRESETS["smoke"].spec)
    check_pairs(on_folder(tmp_path, 1.0))
    for pair_none in (lambda: None, lambda: pair_up(tmp_path)):
        pair_none()
        with pytest.raises(UserError, match=r"same_id_share=0\.5: must be 1 .*no pairs.*directanimator\.pseudo"):
            check_pairs(on_folder(tmp_path, 0.5))
    pair_up(tmp_path, "1")
    check_pairs(on_folder(tmp_path, 0.5))


def test_other_pairs_are_another_pool_and_another_tag(tmp_path: Path) -> None:
    half, same_id = on_folder(tmp_path, 0.5), on_folder(tmp_path, 1.0)
    (tmp_path / "a.mp4").write_bytes(b"a")
    without = pool_directory(half, "train")
    assert origin_tags(half, "cross_id").keys() == {VIDEOS_TAG}
    pools, tags = {without}, set()
    for digits in ("1", "2", "12"):
        pair_up(tmp_path, *digits)
        pools.add(pool_directory(half, "train"))
        tags.add(origin_tags(half, "cross_id")[PAIRS_TAG])
        for spec, stage in ((same_id, "cross_id"), (half, "same_id")):
            assert origin_tags(spec, stage).keys() == {VIDEOS_TAG}
    assert (len(pools), len(tags)) == (4, 3)
    (tmp_path / PAIRS_FILE).unlink()
    assert pool_directory(half, "train") == without


VIDEOS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.tuples(st.binary(max_size=3), st.text("xyz", max_size=3)))


def write_videos(folder: Path, videos: dict[str, tuple[bytes, str]]) -> Path:
    folder.mkdir()
    for name, (content, caption) in videos.items():
        (folder / f"{name}.mp4").write_bytes(content)
        if caption:
            (folder / f"{name}.txt").write_text(f"{caption}\n")
    return folder


@given(VIDEOS.filter(bool), VIDEOS.filter(bool))
def test_folders_are_told_apart_by_names_bytes_and_captions_of_their_videos(
    first: dict[str, tuple[bytes, str]], second: dict[str, tuple[bytes, str]]
) -> None:
    with TemporaryDirectory() as name:
        one, other = (write_videos(Path(name) / str(k), videos) for k, videos in enumerate((first, second)))
        assert (videos_digest(str(one)) == videos_digest(str(other))) == (first == second)


@pytest.mark.parametrize("changed", ["a.mp4", "a.txt", "b.mp4"])
def test_other_videos_or_captions_are_another_pool_and_another_tag(tmp_path: Path, changed: str) -> None:
    spec = on_folder(write_videos(tmp_path / "clips", {"a": (b"1", "walks")}), 1.0)
    pool, tags = pool_directory(spec, "train"), origin_tags(spec, "same_id")
    (tmp_path / "clips" / changed).write_bytes(b"another one")
    assert pool_directory(spec, "train") != pool
    assert origin_tags(spec, "same_id") != tags


@pytest.mark.parametrize("part", ["vae/config.json", "text_encoder/config.json", "tokenizer/tokenizer_config.json"])
def test_settings_and_vocabulary_of_a_published_model_are_part_of_a_pools_name(tmp_path: Path, part: str) -> None:
    shape = {f"model.{name}": value for name, value in WAN_SHAPE.items()}
    flow = {"sampling.scheduler": "unipc", "sampling.snr_shift_scale": WAN_SHIFT, "data.size": 32}
    spec = edit(PRESETS["smoke"].spec, {**shape, **flow, "model.base": str(write_wan(tmp_path / "base"))})
    places = {pool_directory(spec, "train"), pool_directory(edit(spec, {"model.max_text_tokens": 5}), "train")}
    path = tmp_path / "base" / part
    path.write_text(path.read_text() + " ")
    assert len(places | {pool_directory(spec, "train")}) == 3


def test_a_base_that_a_person_brought_is_named_by_its_bytes_and_ours_by_the_spec(tmp_path: Path) -> None:
    spec = PRESETS["smoke"].spec
    weights = tmp_path / "base" / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.parent.mkdir(parents=True)
    brought, found = edit(spec, {"model.base": str(tmp_path / "base")}), set()
    for content in (b"1", b"other", b"1 again"):
        weights.write_bytes(content)
        found.add(origin_tags(brought, "same_id")[BASE_TAG])
        assert origin_tags(brought, "cross_id") == origin_tags(brought, "same_id")
    assert len(found) == 3
    assert origin_tags(spec, "same_id") == {}


@pytest.mark.parametrize("name", ["SpawnProcess-", "SpawnProcess-1:"])
@pytest.mark.parametrize(("gpus", "devices"), [(0, {"cpu"}), (1, {"cuda:0"}), (3, {"cuda:0", "cuda:1", "cuda:2"})])
def test_workers_share_the_gpus_evenly_also_those_of_a_worker(
    monkeypatch: pytest.MonkeyPatch, gpus: int, devices: set[str], name: str
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    found = []
    for number in range(7, 7 + len(devices)):
        monkeypatch.setattr(current_process(), "name", f"{name}{number}")
        found.append(pools._device_of_worker())
    assert (set(found), len(found)) == (devices, len(devices))


@pytest.mark.parametrize(("is_folder", "left"), [(True, 0), (False, 2)])
def test_what_was_seen_of_videos_makes_room_once_their_clips_are_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_folder: bool, left: int
) -> None:
    monkeypatch.setenv("DIRECTANIMATOR_CUES", str(tmp_path / "cues"))
    for name in ("first", "second"):
        with Store(cues_root()).writer("sightings", name, FRAME_ARRAYS) as writer:
            writer.append({"x": np.zeros(3)})
    counts: list[int] = []
    monkeypatch.setattr(pools, "build_pool", lambda *_, **__: counts.append(Store(cues_root()).count()))
    monkeypatch.setattr(pools, "open_pool", lambda _: {})
    monkeypatch.setattr(pools, "Store", functools.partial(Store, limit_bytes=1))
    clips = write_videos(tmp_path / "clips", {"a": (b"1", "")})
    pools.train_pool(on_folder(clips, 1.0) if is_folder else PRESETS["smoke"].spec)
    assert (counts, Store(cues_root()).count()) == ([2], left)
