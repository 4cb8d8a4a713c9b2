"""Promptable segmenters: tiny random nets, saved and loaded in the real format; what is said when one is missing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from directanimator.errors import UserError
from directanimator.extraction.backends import SEGMENTERS
from directanimator.perception.insight import InsightFaces
from directanimator.perception.person import Seen, Sighting
from directanimator.perception.region import Patch, View
from directanimator.perception.segmenters import SegmentedPerception, box_of, nearest_box, patch_of

FRAME = np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8)
BOX = np.array([20, 10, 60, 70], np.float32)


class Guide:
    """A person of a known box."""

    def watch(self, frames):
        for frame in frames:
            mask = np.zeros(frame.shape[:2], np.uint8)
            mask[10:70, 20:60] = 255
            yield Seen(frame, Sighting(Patch.of_frame(mask, *mask.shape), score=0.9))


def sam2_directory(folder: Path) -> Path:
    from transformers import Sam2ImageProcessor, Sam2VideoConfig, Sam2VideoModel, Sam2VideoProcessor
    from transformers.models.sam2_video.video_processing_sam2_video import Sam2VideoVideoProcessor

    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "num_attention_heads": 1,
        "blocks_per_stage": [1, 1, 1, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 1, 1],
        "window_positional_embedding_background_size": [2, 2],
        "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [],
        "image_size": [128, 128],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 256,
    }
    config = Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"image_size": 128, "patch_size": 16},
        image_size=128,
        memory_attention_num_layers=1,
        memory_attention_rope_feat_sizes=[8, 8],
        memory_attention_feed_forward_hidden_size=16,
    )
    torch.manual_seed(0)
    Sam2VideoModel(config).save_pretrained(folder)
    size = {"height": 128, "width": 128}
    Sam2VideoProcessor(
        Sam2ImageProcessor(size=size, mask_size={"height": 32, "width": 32}), Sam2VideoVideoProcessor(size=size), 128
    ).save_pretrained(folder)
    return folder


def sam_parts(folder: Path) -> None:
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    vision = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 128, "patch_size": 16,
        "output_channels": 256, "mlp_dim": 16, "window_size": 4, "global_attn_indexes": [0],
    }  # fmt: skip
    torch.manual_seed(0)
    prompt = {"image_size": 128, "patch_size": 16, "image_embedding_size": 8}
    SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt)).save_pretrained(folder)
    processor = SamImageProcessor(
        size={"longest_edge": 128}, pad_size={"height": 128, "width": 128}, mask_size={"longest_edge": 32},
        mask_pad_size={"height": 32, "width": 32},
    )  # fmt: skip
    SamProcessor(processor).save_pretrained(folder)


def dino_parts(folder: Path) -> None:
    from transformers import (
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
    )

    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "person", ".", "?"]
    (folder / "vocab.txt").write_text("\n".join(words))
    config = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin", "image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 1, 1], "window_size": 4, "out_features": ["stage2", "stage3", "stage4"],
        },
        text_config={
            "model_type": "bert", "vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16,
        },
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=5,
    )  # fmt: skip
    torch.manual_seed(0)
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    image = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(image, BertTokenizer(str(folder / "vocab.txt"))).save_pretrained(folder)


def grounded_sam_directory(folder: Path) -> Path:
    sam_parts(folder / "sam")
    dino_parts(folder / "grounding_dino")
    return folder


def segment_anything_directory(folder: Path) -> Path:
    build = pytest.importorskip("segment_anything.build_sam")
    torch.manual_seed(0)
    torch.save(build._build_sam(16, 1, 2, []).state_dict(), folder / "sam_tiny.pth")
    return folder


MAKERS = {
    "sam2": sam2_directory,
    "grounded_sam": grounded_sam_directory,
    "segment_anything": segment_anything_directory,
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", MAKERS)
def test_weights_of_the_real_format_give_a_mask_of_the_whole_frame_the_same_each_time(name, tmp_path):
    perception = SegmentedPerception(Guide(), SEGMENTERS[name](MAKERS[name](tmp_path)))
    once, again = (list(perception.watch([FRAME, FRAME[:, ::-1].copy()])) for _ in range(2))
    assert len(once) == 2
    for first, second in zip(once, again, strict=True):
        mask = first.sighting.mask_in(View.whole(72, 96))
        assert mask.shape == (72, 96)
        assert first.sighting.score == 0.9
        np.testing.assert_array_equal(mask, second.sighting.mask_in(View.whole(72, 96)))


@pytest.mark.parametrize("name", MAKERS)
def test_missing_weights_are_one_line_that_says_which_file_and_where_it_comes_from(name, tmp_path):
    with pytest.raises(UserError, match=r"https://") as caught:
        SEGMENTERS[name](tmp_path)
    text = str(caught.value)
    assert "\n" not in text
    assert name in text
    assert str(tmp_path) in text


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", MAKERS)
def test_weights_of_another_kind_are_refused_in_one_line(name, tmp_path):
    for part in (tmp_path, tmp_path / "sam", tmp_path / "grounding_dino"):
        part.mkdir(exist_ok=True)
        for file in ("config.json", "processor_config.json"):
            (part / file).write_text(json.dumps({"model_type": "bert"}))
        (part / "model.safetensors").write_bytes(b"no weights")
    (tmp_path / "sam.pth").write_bytes(b"no weights")
    with pytest.raises(UserError) as caught:
        SEGMENTERS[name](tmp_path)
    assert "\n" not in str(caught.value)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 59), st.integers(0, 59))
def test_the_box_of_a_mask_holds_it_and_no_more(width, height, left, top):
    mask = np.zeros((64, 80), np.uint8)
    mask[top : top + height, left : left + width] = 255
    bottom, right = min(top + height, 64), min(left + width, 80)
    np.testing.assert_allclose(box_of(Patch.of_frame(mask, 64, 80), 64, 80), [left, top, right, bottom], atol=1e-4)


def test_of_found_boxes_the_guides_is_taken():
    found = np.array([[0, 0, 10, 10], [18, 12, 61, 71], [70, 0, 96, 72]], np.float32)
    np.testing.assert_array_equal(nearest_box(found, BOX), found[1])
    np.testing.assert_array_equal(nearest_box(found[:1], BOX), BOX)
    np.testing.assert_array_equal(nearest_box(found[:0], BOX), BOX)


def test_a_large_mask_is_kept_small_and_laid_back_in_place():
    mask = np.zeros((1080, 1920), np.bool_)
    mask[200:800, 400:1000] = True
    patch = patch_of(mask)
    assert max(patch.levels.shape) == 512
    assert ((patch.laid(View.whole(1080, 1920)) > 127) != mask).mean() < 0.002


def test_a_missing_face_detector_is_one_line_that_says_where_it_comes_from(tmp_path):
    with pytest.raises(UserError, match=r"insightface.*\.onnx|insightface needs") as caught:
        InsightFaces(Guide(), tmp_path)
    assert "https://" in str(caught.value)
    assert "\n" not in str(caught.value)
