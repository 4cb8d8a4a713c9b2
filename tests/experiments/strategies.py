"""Legal experiment specs and legal values of each of their fields."""

from typing import Any, get_args

from hypothesis import strategies as st

from directanimator.cues.spec import PosePicture
from directanimator.data.spec import Subset
from directanimator.extraction.spec import FaceBackend, MaskBackend
from directanimator.metrics.spec import NetworkName
from directanimator.objective.spec import ends_without_noise
from experiments.edit import Leaf, edit, leaves
from experiments.spec import CODEC_CELLS, CODEC_CHANNELS, ExperimentSpec

BASE = ExperimentSpec()


def floats(low: float, high: float, exclude_min: bool = False, exclude_max: bool = False) -> st.SearchStrategy[float]:
    return st.floats(low, high, exclude_min=exclude_min, exclude_max=exclude_max)


SHARES = st.sampled_from([0.0, -0.0, 1.0]) | floats(0, 1)
COUNTS = st.integers(1, 10_000)
TEXTS = st.sampled_from(["none", "True", "1", "", " a", '"', "a,b", "a=b", "a\nb", "\u00e9"]) | st.text()

LEGAL: dict[str, st.SearchStrategy[Any]] = {
    "seed": st.integers(0, 2**32 - 1),
    "data.source": st.sampled_from(["synthetic", "folder"]),
    "data.folder": st.none() | TEXTS,
    "data.perception.masks": st.sampled_from(get_args(MaskBackend)),
    "data.perception.faces": st.sampled_from(get_args(FaceBackend)),
    "data.perception.person": st.none() | st.just((0.1, 0.0, 0.5, 1.0)),
    "data.size": st.integers(2, 128).map(lambda n: 16 * n),
    "data.latent_frames": st.integers(1, 65),
    "data.fps": floats(0, 120, exclude_min=True),
    "data.cue_quality": st.sampled_from(["true", "pseudo"]),
    "data.cue_strength": SHARES,
    "data.num_train_clips": COUNTS,
    "data.num_test_clips": COUNTS,
    "cues.pose.enabled": st.booleans(),
    "cues.pose.picture": st.sampled_from(get_args(PosePicture)),
    "cues.pose.filter_shape": st.sampled_from(["gaussian", "ideal", "butterworth"]),
    "cues.pose.cutoff": floats(0, 4096, exclude_min=True),
    "cues.pose.normalized": st.booleans(),
    "cues.pose.aligned": st.booleans(),
    "cues.face.enabled": st.booleans(),
    "cues.face.zoomed": st.booleans(),
    "cues.face.margin": floats(1, 4),
    "cues.location.enabled": st.booleans(),
    "cues.location.align_by": st.sampled_from(["landmarks", "masks"]),
    "cues.location.aligned": st.booleans(),
    "cues.location.soften_cells": st.none() | st.integers(1, 256),
    "cues.gate.min_area_ratio": floats(0, 1, exclude_min=True),
    "cues.gate.max_area_ratio": floats(1, 100),
    "cues.gate.min_largest_component": SHARES,
    "model.base": st.sampled_from(["embedded", "random"]) | TEXTS,
    "model.num_layers": st.integers(1, 64),
    "model.num_heads": COUNTS,
    "model.head_dim": st.integers(1, 16).map(lambda n: 16 * n),
    "model.latent_channels": st.sampled_from(list(CODEC_CHANNELS.values())),
    "model.patch_size": st.sampled_from([1, 2]),
    "model.patch_size_t": st.none() | COUNTS,
    "model.time_embed_dim": COUNTS,
    "model.text_embed_dim": COUNTS,
    "model.max_text_tokens": COUNTS,
    "model.ofs_embed_dim": st.none() | COUNTS,
    "model.codec": st.sampled_from(["embedded", "cogvideox", "wan"]),
    "model.backbone": st.sampled_from(["cogvideox", "wan"]),
    "model.feed_forward_dim": st.none() | COUNTS,
    "model.fusion": st.sampled_from(["adaln", "concat", "cross_attention"]),
    "model.cue_init": st.sampled_from(["zero", "default"]),
    "model.positions": st.sampled_from(["cells", "learned"]),
    "model.text_encoder": st.sampled_from(["none", "t5", "umt5"]),
    "model.cue_entry": st.sampled_from(["residual", "attention"]),
    "model.cue_carry": st.sampled_from(["gated", "ungated", "modulated"]),
    "optim.learning_rate": floats(0, 1, exclude_min=True),
    "optim.cue_norm_rate_factor": floats(0, 1000, exclude_min=True),
    "optim.warmup_steps": st.integers(0, 1000),
    "optim.decay_share": SHARES,
    "optim.weight_decay": SHARES,
    "optim.beta2": floats(0, 1, exclude_min=True, exclude_max=True),
    "optim.max_grad_norm": floats(0, 100, exclude_min=True),
    "optim.global_batch_size": COUNTS,
    "optim.lora_rank": st.none() | st.integers(1, 1024),
    "optim.precision": st.sampled_from(["fp32", "bf16"]),
    "optim.ema_decay": SHARES,
    "optim.cue_dropout": SHARES,
    "optim.text_dropout": SHARES,
    "denoising.person_weight": floats(1, 100),
    "denoising.noise_bias": floats(1, 10),
    "same_id.steps": COUNTS,
    "cross_id.steps": COUNTS,
    "cross_id.same_id_share": SHARES,
    "cross_id.init": st.sampled_from(["teacher", "base"]),
    "same2x.enabled": st.booleans(),
    "same2x.weight": SHARES,
    "same2x.depth": floats(0, 1, exclude_min=True),
    "sampling.scheduler": st.sampled_from(["ddim", "dpm", "euler", "unipc"]),
    "sampling.num_steps": st.sampled_from([count for count in range(1, 1001) if ends_without_noise(count)]),
    "sampling.guidance_scale": floats(1, 30),
    "sampling.guidance_over": st.sampled_from(["text", "cues"]),
    "sampling.snr_shift_scale": floats(0, 16, exclude_min=True),
    "evaluation.subsets": st.lists(st.sampled_from(get_args(Subset)), min_size=1, unique=True).map(tuple),
    "evaluation.split": st.sampled_from(["val", "test"]),
    "evaluation.networks": st.none()
    | st.lists(st.sampled_from(get_args(NetworkName)), min_size=1, unique=True).map(tuple),
}
"""Legal values by path, each taken alone."""

COUPLED = {
    "sampling.guidance_over",
    "sampling.num_steps",
    "data.source",
    "data.perception.masks",
    "data.perception.faces",
    "data.perception.person",
    "data.cue_quality",
    "data.cue_strength",
    "data.folder",
    "cues.pose.picture",
    "data.size",
    "data.latent_frames",
    "evaluation.subsets",
    "evaluation.networks",
    "evaluation.split",
    "cues.location.soften_cells",
    "model.base",
    "model.num_layers",
    "model.latent_channels",
    "model.patch_size",
    "model.codec",
    "model.backbone",
    "model.feed_forward_dim",
    "model.patch_size_t",
    "model.ofs_embed_dim",
    "model.positions",
    "model.text_encoder",
    "sampling.scheduler",
    "model.fusion",
    "model.cue_entry",
    "model.cue_carry",
}
"""Fields whose legal values hang on other fields."""
FOLDER_NEEDS: dict[str, Any] = {
    "data.cue_quality": "true",
    "cues.pose.picture": "gray",
    "evaluation.subsets": ("self",),
}
"""What clips without a known cross-ID target ask of a spec."""
FREE = sorted(LEGAL.keys() - COUPLED)


def _of_cogvideox(values: dict[str, Any]) -> dict[str, Any]:
    return {
        "model.feed_forward_dim": None,
        "model.codec": {"wan": "cogvideox"}.get(*[values["model.codec"]] * 2),
        "model.text_encoder": {"umt5": "t5"}.get(*[values["model.text_encoder"]] * 2),
        "sampling.scheduler": {"euler": "ddim", "unipc": "dpm"}.get(*[values["sampling.scheduler"]] * 2),
    }


def _of_wan(values: dict[str, Any]) -> dict[str, Any]:
    return {
        "model.base": {"embedded": "random"}.get(*[values["model.base"]] * 2),
        "model.codec": {"cogvideox": "wan"}.get(*[values["model.codec"]] * 2),
        "model.text_encoder": {"t5": "umt5"}.get(*[values["model.text_encoder"]] * 2),
        "sampling.scheduler": {"ddim": "euler", "dpm": "unipc"}.get(*[values["sampling.scheduler"]] * 2),
        "model.patch_size_t": None,
        "model.ofs_embed_dim": None,
        "model.positions": "cells",
    }


OTHER_BACKBONE = {"cogvideox": _of_cogvideox, "wan": _of_wan}
"""What agrees with a backbone, of values that may be the other one's."""


def _agreeing(values: dict[str, Any]) -> dict[str, Leaf]:
    """The values, with those that contradict others moved to the nearest that do not."""
    values |= OTHER_BACKBONE[values["model.backbone"]](values)
    if values["model.base"] == "embedded":
        values["model.codec"] = "embedded"
    if values["model.fusion"] != "adaln":
        values |= {"model.cue_entry": "residual", "model.cue_carry": "gated"}
    values["model.latent_channels"] = CODEC_CHANNELS[values["model.codec"]]
    if values["data.size"] // CODEC_CELLS[values["model.codec"]] % 2:
        values["model.patch_size"] = 1
    if values["model.codec"] == "cogvideox":
        values["data.latent_frames"] |= 1
    if values["model.text_encoder"] == "none" and values["sampling.guidance_scale"] > 1:
        values["sampling.guidance_over"] = "cues"
    values["data.folder"] = (values["data.folder"] or "clips") if values["data.source"] == "folder" else None
    if values["data.source"] == "folder":
        values |= FOLDER_NEEDS
    else:
        values |= {path: value for path, value in leaves(BASE).items() if path.startswith("data.perception.")}
    if "truth" in (values["data.perception.masks"], values["data.perception.faces"]):
        values |= {"data.perception.masks": "truth", "data.perception.faces": "truth"}
    if not {"self", "cross"}.issuperset(values["evaluation.subsets"]):
        values["evaluation.split"] = "test"
    if values["evaluation.networks"] and "i3d" in values["evaluation.networks"]:
        values["data.latent_frames"] = max(values["data.latent_frames"], 3)
    if values["data.cue_quality"] == "true":
        values["data.cue_strength"] = 0.5
    if values["cues.location.soften_cells"] is not None:
        values["cues.location.soften_cells"] = min(values["cues.location.soften_cells"], values["data.size"])
    return values


@st.composite
def specs(draw: st.DrawFn) -> ExperimentSpec:
    """Any legal spec; near the default as often as far from it."""
    paths = draw(st.sets(st.sampled_from(sorted(LEGAL)), max_size=4) | st.just(set(LEGAL)))
    return edit(BASE, _agreeing(leaves(BASE) | {path: draw(LEGAL[path]) for path in sorted(paths)}))


@st.composite
def free_edits(draw: st.DrawFn) -> tuple[str, Any]:
    """One path and a legal value for it, whatever the spec."""
    path = draw(st.sampled_from(FREE))
    return path, draw(LEGAL[path])
