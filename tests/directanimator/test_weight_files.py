"""Weights in PyTorch's format: tensors come through, and whatever else a file holds is one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from directanimator.errors import UserError
from directanimator.weight_files import stored_tensors


class Program:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.file,)


def saved(folder: Path, content: object) -> Path:
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        stored_tensors(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_tensors_come_back_as_they_were_saved(tmp_path: Path) -> None:
    weights = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(True)}
    torch.testing.assert_close(stored_tensors(saved(tmp_path, weights)), weights, rtol=0, atol=0)


@pytest.mark.parametrize("wrapped", [lambda it: it, lambda it: {"a": it}, lambda it: {"a": torch.zeros(1), "b": [it]}])
def test_a_program_is_refused_and_does_not_run(wrapped: Callable[[Program], object], tmp_path: Path) -> None:
    path = saved(tmp_path, wrapped(Program(tmp_path / "ran")))
    refusal(path)
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{"a": "text"}, [torch.zeros(1)], torch.zeros(1)])
def test_anything_but_named_tensors_is_refused(content: object, tmp_path: Path) -> None:
    refusal(saved(tmp_path, content))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("files") / "weights.pth"
    path.write_bytes(content)
    refusal(path)


@given(st.data())
def test_a_cut_file_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = saved(tmp_path_factory.mktemp("files"), {"a": torch.zeros(50)})
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    refusal(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refusal(tmp_path / "none.pth")
