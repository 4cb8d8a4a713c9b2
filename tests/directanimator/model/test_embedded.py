"""Weights from directories: what fits loads, what does not is refused in one line."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from directanimator.errors import UserError
from directanimator.model.cue_fusion import CUE_PARAMETERS, CueFusionTransformer
from directanimator.model.embedded import (
    EMBEDDED_DIRECTORY,
    build_transformer,
    load_base,
    load_codec,
    load_transformer,
    make_transformer,
)
from directanimator.model.spec import EMBEDDED_WEIGHTS, ModelSpec

SMALL = ModelSpec(base="random", num_layers=2, num_heads=2, head_dim=16, latent_channels=4, time_embed_dim=24)
WEIGHTS = "diffusion_pytorch_model.safetensors"


def is_cue(name: str) -> bool:
    return any(part in name for part in CUE_PARAMETERS)


@pytest.mark.parametrize(("part", "folder"), [("base", "transformer"), ("codec", "codec")])
def test_what_embedded_means_is_what_is_shipped(part: str, folder: str) -> None:
    digest = hashlib.sha256((EMBEDDED_DIRECTORY / folder / WEIGHTS).read_bytes()).hexdigest()
    assert digest.startswith(EMBEDDED_WEIGHTS[part]), "other weights are shipped: name them in model/spec.py"
    assert len(EMBEDDED_WEIGHTS[part]) == 12


@pytest.fixture
def saved(tmp_path: Path) -> tuple[CueFusionTransformer, Path]:
    torch.manual_seed(3)
    model = build_transformer(SMALL)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    directory = tmp_path / "transformer"
    model.save_pretrained(directory)
    return model, directory


def refused(directory: Path, spec: ModelSpec = SMALL) -> str:
    with pytest.raises(UserError) as caught:
        load_transformer(directory, spec)
    assert "\n" not in str(caught.value)
    assert str(directory) in str(caught.value)
    return str(caught.value)


def test_a_saved_transformer_comes_back_whole_and_frozen(saved: tuple[CueFusionTransformer, Path]) -> None:
    model, directory = saved
    again = load_transformer(directory, SMALL)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_weights_in_half_precision_load_as_floats(saved: tuple[CueFusionTransformer, Path]) -> None:
    model, directory = saved
    model.to(torch.bfloat16).save_pretrained(directory)
    again = load_transformer(directory, SMALL)
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}


def test_a_base_lends_all_but_the_modulation_of_cues(saved: tuple[CueFusionTransformer, Path]) -> None:
    model, directory = saved
    loaded = build_transformer(SMALL)
    load_base(loaded, directory)
    theirs = model.state_dict()
    for name, value in loaded.state_dict().items():
        if not is_cue(name):
            assert torch.equal(value, theirs[name]), name
        elif ".cues." in name:
            assert not value.any(), name
    torch.testing.assert_close(loaded.pose_embed.proj.weight[:, :4, 0], theirs["patch_embed.proj.weight"][:, :4])


def test_a_base_without_any_cue_parameter_is_enough(saved: tuple[CueFusionTransformer, Path]) -> None:
    _, directory = saved
    weights = {name: value for name, value in load_file(directory / WEIGHTS).items() if not is_cue(name)}
    save_file(weights, directory / WEIGHTS, {"format": "pt"})
    load_base(build_transformer(SMALL), directory)


def test_weights_in_several_files_load_like_weights_in_one(saved: tuple[CueFusionTransformer, Path]) -> None:
    model, directory = saved
    (directory / WEIGHTS).unlink()
    model.save_pretrained(directory, max_shard_size="60KB")
    assert len(list(directory.glob("*.safetensors"))) > 1
    again = load_transformer(directory, SMALL)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("change", [{"num_layers": 1}, {"num_layers": 3}, {"head_dim": 32}, {"latent_channels": 8}])
def test_another_architecture_is_refused(saved: tuple[CueFusionTransformer, Path], change: dict[str, int]) -> None:
    assert "another architecture" in refused(saved[1], SMALL.model_copy(update=change))


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    assert "no weights" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [0, 5, 200, 5000])
def test_a_truncated_file_is_refused(saved: tuple[CueFusionTransformer, Path], keep: int) -> None:
    path = saved[1] / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    assert "cannot be read" in refused(saved[1])


def test_a_text_file_in_place_of_weights_is_refused(saved: tuple[CueFusionTransformer, Path]) -> None:
    (saved[1] / WEIGHTS).write_text("these are\nno weights\n")
    assert "cannot be read" in refused(saved[1])


@pytest.mark.parametrize(
    "index",
    ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', '{"weight_map": {"a": "../../a.safetensors"}}'],
)
def test_a_damaged_index_is_refused(saved: tuple[CueFusionTransformer, Path], index: str) -> None:
    (saved[1] / f"{WEIGHTS}.index.json").write_text(index)
    refused(saved[1])


@given(st.integers(0, 2**31))
def test_the_seed_decides_random_weights_and_nothing_else_does(seed: int) -> None:
    before = torch.get_rng_state()
    one = make_transformer(SMALL, seed)
    torch.testing.assert_close(torch.get_rng_state(), before)
    torch.rand(3)
    two, other = make_transformer(SMALL, seed), make_transformer(SMALL, seed + 1)
    torch.testing.assert_close(one.state_dict(), two.state_dict(), rtol=0, atol=0)
    assert not torch.equal(one.proj_out.weight, other.proj_out.weight)


@torch.no_grad()
def test_the_shipped_weights_load_and_repeat_their_video() -> None:
    if not (EMBEDDED_DIRECTORY / "codec").is_dir() or not (EMBEDDED_DIRECTORY / "transformer").is_dir():
        pytest.skip("the embedded base has not been trained yet")
    make_transformer(ModelSpec(), seed=0)
    codec = load_codec()
    ramp = torch.linspace(-0.8, 0.8, 64).expand(1, 5, 3, 64, 64)
    assert (codec.decode(codec.encode(ramp)) - ramp).abs().mean() < 0.05
    assert json.loads((EMBEDDED_DIRECTORY / "codec" / "config.json").read_text())["latent_channels"] == 128
