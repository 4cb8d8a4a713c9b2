"""The named starting points of every experiment."""

from dataclasses import dataclass

from directanimator.cues.spec import CueSpec, PoseCueSpec
from directanimator.data.spec import DataSpec
from directanimator.model.spec import ModelSpec
from directanimator.objective.spec import DenoisingSpec, SamplingSpec
from directanimator.training.spec import CrossIdSpec, OptimSpec, Same2XSpec, SameIdSpec
from experiments.edit import edit
from experiments.spec import EvaluationSpec, ExperimentSpec

DEFAULT_PRESET = "cpu"


@dataclass(frozen=True)
class Preset:
    """A complete spec with a name and what it costs."""

    name: str
    description: str
    spec: ExperimentSpec


SMOKE = Preset(
    name="smoke",
    description="every step of the pipeline on a throw-away model; seconds on one core, the numbers mean nothing",
    spec=ExperimentSpec(
        data=DataSpec(latent_frames=2, num_train_clips=8, num_test_clips=2),
        model=ModelSpec(base="random", num_layers=2, num_heads=2, head_dim=32, time_embed_dim=64),
        optim=OptimSpec(warmup_steps=1, global_batch_size=2, precision="fp32"),
        same_id=SameIdSpec(steps=4),
        cross_id=CrossIdSpec(steps=4),
        sampling=SamplingSpec(num_steps=2),
    ),
)

CPU = Preset(
    name="cpu",
    description="synthetic humans on the shipped tiny base; about 9 minutes a variant on two cores",
    spec=ExperimentSpec(),
)

PAPER = Preset(
    name="paper",
    description="CogVideoX1.5-5B-I2V on the videos in videos/, 49 frames of 512 px; days on several large GPUs",
    spec=ExperimentSpec(
        data=DataSpec(
            source="folder",
            folder="videos",
            size=512,
            latent_frames=13,
            fps=16.0,
            num_train_clips=4000,
            num_test_clips=50,
        ),
        cues=CueSpec(pose=PoseCueSpec(cutoff=32.0, normalized=False, aligned=False)),
        model=ModelSpec(
            base="CogVideoX1.5-5B-I2V",
            codec="cogvideox",
            num_layers=42,
            num_heads=48,
            head_dim=64,
            latent_channels=16,
            patch_size=2,
            patch_size_t=2,
            time_embed_dim=512,
            text_embed_dim=4096,
            max_text_tokens=226,
            ofs_embed_dim=512,
            text_encoder="t5",
        ),
        optim=OptimSpec(learning_rate=2e-5, warmup_steps=500, decay_share=0.0, global_batch_size=4, ema_decay=0.0),
        denoising=DenoisingSpec(person_weight=1.0, noise_bias=1.0),
        same_id=SameIdSpec(steps=10_000),
        cross_id=CrossIdSpec(steps=30_000, same_id_share=1.0),
        same2x=Same2XSpec(weight=0.5, depth=0.24),
        sampling=SamplingSpec(
            scheduler="dpm", num_steps=50, guidance_scale=6.0, guidance_over="text", snr_shift_scale=1.0
        ),
        evaluation=EvaluationSpec(subsets=("self",)),
    ),
)

WAN = Preset(
    name="wan",
    description="the preset paper on Wan2.2-TI2V-5B, by flow matching; days on several large GPUs",
    spec=edit(
        PAPER.spec,
        {
            "model.backbone": "wan",
            "model.base": "Wan2.2-TI2V-5B-Diffusers",
            "model.codec": "wan",
            "model.num_layers": 30,
            "model.num_heads": 24,
            "model.head_dim": 128,
            "model.latent_channels": 48,
            "model.patch_size_t": None,
            "model.feed_forward_dim": 14336,
            "model.max_text_tokens": 512,
            "model.ofs_embed_dim": None,
            "model.text_encoder": "umt5",
            "sampling.scheduler": "unipc",
            "sampling.guidance_scale": 5.0,
            "sampling.snr_shift_scale": 5.0,
        },
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in (SMOKE, CPU, PAPER, WAN)}
