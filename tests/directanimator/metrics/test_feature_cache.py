import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from directanimator.metrics.feature_cache import FeatureCache
from directanimator.metrics.features import EXTRACTORS, with_needed

SOURCE = {"pixels": "abc", "weights": "123", "network": "i3d 1"}
WORDS = st.text("abcdef0123", min_size=1, max_size=6)


class Maker:
    def __init__(self, value=1.0):
        self.calls, self.value = 0, value

    def __call__(self):
        self.calls += 1
        return {"x": np.full((2, 3), self.value, np.float32), "y": np.arange(4)}


@given(st.dictionaries(WORDS, WORDS, min_size=1, max_size=3))
def test_what_was_made_once_comes_back_and_is_not_made_again(tmp_path_factory, source):
    cache, maker = FeatureCache(tmp_path_factory.mktemp("cache")), Maker()
    first, second = cache.get(source, maker), cache.get(source, maker)
    assert maker.calls == 1
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
        assert first[name].dtype == second[name].dtype


@given(st.sampled_from(sorted(SOURCE)), WORDS)
def test_another_source_is_never_taken(tmp_path_factory, key, word):
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    cache.get(SOURCE, Maker(1.0))
    other = SOURCE | {key: SOURCE[key] + word}
    assert cache.get(other, Maker(2.0))["x"][0, 0] == 2


def test_a_file_from_other_weights_is_named_and_made_anew(tmp_path):
    lines = []
    cache, maker = FeatureCache(tmp_path, lines.append), Maker(2.0)
    path = cache.path(SOURCE)
    path.parent.mkdir(parents=True)
    save_file({"x": np.zeros((2, 3), np.float32)}, path, metadata={"source": '{"pixels": "abc", "weights": "999"}'})
    assert cache.get(SOURCE, maker)["x"][0, 0] == 2
    assert len(lines) == 1
    assert "cached features of another weights, network; made anew" in lines[0]
    assert cache.get(SOURCE, maker)["x"][0, 0] == 2
    assert maker.calls == 1


def test_a_damaged_file_is_named_and_made_anew(tmp_path):
    lines = []
    cache, maker = FeatureCache(tmp_path, lines.append), Maker()
    cache.get(SOURCE, maker)
    cache.path(SOURCE).write_bytes(b"garbage")
    assert cache.get(SOURCE, maker)["x"][0, 0] == 1
    assert maker.calls == 2
    assert "cannot be read" in lines[0]


def test_faces_depend_on_the_nets_that_find_them():
    assert with_needed(["dlib_face"]) == ["person", "dlib_face"]
    assert with_needed(["i3d"]) == ["i3d"]
    fetched = [extractor for extractor in EXTRACTORS.values() if not extractor.files]
    assert len({extractor.weights for extractor in fetched}) == len(fetched) >= 4
