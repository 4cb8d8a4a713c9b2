"""Reading pickled arrays without unpickling. The test itself may pickle; the library may not."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from directanimator.errors import UserError
from directanimator.metrics.networks.stored_arrays import stored_arrays

KEYS = st.text("abc_1", min_size=1, max_size=4)
ARRAYS = arrays.arrays(
    st.sampled_from([np.dtype("<f4"), np.dtype("<f8"), np.dtype("u1"), np.dtype("<i8")]),
    arrays.array_shapes(min_dims=0, max_dims=3, max_side=4),
)
TREES = st.recursive(st.dictionaries(KEYS, ARRAYS, max_size=4), lambda inner: st.dictionaries(KEYS, inner, max_size=3))


def flat(tree, prefix=""):
    if isinstance(tree, np.ndarray):
        return {prefix: tree}
    return {k: v for key, inner in tree.items() for k, v in flat(inner, f"{prefix}/{key}" if prefix else key).items()}


class Evil:
    def __reduce__(self):
        return (print, ("this must not run",))


@given(TREES, st.booleans())
def test_what_was_pickled_is_read(tmp_path_factory, tree, columns):
    if columns:
        tree = {"x": {key: np.asfortranarray(array) for key, array in flat(tree).items()}}
    path = tmp_path_factory.mktemp("arrays") / "arrays.ckpt"
    path.write_bytes(pickle.dumps(tree, protocol=4))
    found, wanted = stored_arrays(path), flat(tree)
    assert found.keys() == wanted.keys()
    for key in wanted:
        assert found[key].dtype == wanted[key].dtype
        np.testing.assert_array_equal(found[key], wanted[key])


@pytest.mark.parametrize("content", [Evil(), {"a": Evil()}, {"a": [1, 2]}, [np.zeros(2)], {"a": np.array([{}])}, 7])
def test_anything_else_is_refused_and_does_not_run(tmp_path, capsys, content):
    path = tmp_path / "arrays.ckpt"
    path.write_bytes(pickle.dumps(content, protocol=4))
    with pytest.raises(UserError, match="arrays in dictionaries"):
        stored_arrays(path)
    assert capsys.readouterr().out == ""


@given(st.integers(0, 10_000))
def test_a_file_that_is_cut_short_is_refused(tmp_path_factory, cut):
    whole = pickle.dumps({"a": np.arange(20.0), "b": {"c": np.zeros((3, 2), np.float32)}}, protocol=4)
    path = tmp_path_factory.mktemp("arrays") / "arrays.ckpt"
    path.write_bytes(whole[: cut % len(whole)])
    with pytest.raises(UserError, match="arrays in dictionaries"):
        stored_arrays(path)
