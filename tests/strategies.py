"""Hypothesis strategies that several test files share."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from jaxtyping import Float32, Float64, UInt8

from directanimator.cues.alignment import Alignment
from directanimator.cues.person import PersonTrack, no_landmarks
from directanimator.cues.spec import CueSpec, FaceCueSpec, FilterShape, LocationCueSpec, PoseCueSpec


def seeds() -> SearchStrategy[int]:
    return st.integers(0, 2**32 - 1)


def canvas_sides(least: int = 8, most: int = 40) -> SearchStrategy[int]:
    return st.integers(least, most)


def cutoffs() -> SearchStrategy[float]:
    return st.floats(0.5, 30)


def filter_shapes() -> SearchStrategy[FilterShape]:
    return st.sampled_from(["gaussian", "ideal", "butterworth"])


def alignments() -> SearchStrategy[Alignment]:
    shift = st.floats(-0.3, 0.3)
    return st.builds(Alignment, scale=st.floats(0.6, 1.6), dx=shift, dy=shift)


def whole_figure_alignments():
    """Alignments after which the whole figure is still in the frame."""
    return st.builds(
        lambda scale, x, y: Alignment(scale, x - scale * 0.5, y - scale * 0.3),
        st.floats(0.6, 1.6),
        st.floats(0.3, 0.7),
        st.floats(0.25, 0.35),
    )


def cue_specs() -> SearchStrategy[CueSpec]:
    return st.builds(
        CueSpec,
        pose=st.builds(
            PoseCueSpec,
            picture=st.sampled_from(["gray", "rgb"]),
            enabled=st.booleans(),
            cutoff=cutoffs(),
            filter_shape=filter_shapes(),
        ),
        face=st.builds(FaceCueSpec, enabled=st.booleans(), zoomed=st.booleans(), margin=st.floats(1, 3)),
        location=st.builds(
            LocationCueSpec,
            enabled=st.booleans(),
            aligned=st.booleans(),
            soften_cells=st.none() | st.integers(1, 32),
        ),
    )


@st.composite
def gray_images(draw: st.DrawFn, frames: int | None = None) -> Float64[np.ndarray, "f h w"]:
    """Independent normal pixels: energy at every frequency."""
    shape = (frames or draw(st.integers(1, 3)), draw(canvas_sides()), draw(canvas_sides()))
    return np.random.default_rng(draw(seeds())).standard_normal(shape)


@st.composite
def videos(draw: st.DrawFn) -> UInt8[np.ndarray, "f h w 3"]:
    """Independent uniform pixels."""
    shape = (draw(st.integers(1, 4)), draw(canvas_sides()), draw(canvas_sides()), 3)
    return np.random.default_rng(draw(seeds())).integers(0, 256, shape, np.uint8)


@st.composite
def soft_masks(draw: st.DrawFn) -> UInt8[np.ndarray, "f h w"]:
    """Independent pixels, each 0, 255 or between."""
    shape = (draw(st.integers(1, 3)), draw(canvas_sides()), draw(canvas_sides()))
    levels = np.random.default_rng(draw(seeds())).integers(-100, 356, shape)
    return np.clip(levels, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Figure:
    """A person of a round head and an oblong body, in shares of the frame; drawn alike at any resolution."""

    x: float = 0.5
    y: float = 0.3
    scale: float = 1.0
    phase: float = 0.0
    """Shifts the pattern of the clothes."""

    def moved(self, alignment: Alignment) -> "Figure":
        """The figure as the alignment would show it."""
        return Figure(
            alignment.scale * self.x + alignment.dx,
            alignment.scale * self.y + alignment.dy,
            alignment.scale * self.scale,
            self.phase,
        )

    def face_box(self, size: int) -> Float32[np.ndarray, " 4"]:
        reach = 0.06 * self.scale
        edges = [self.x - reach, self.y - reach, self.x + reach, self.y + reach]
        return np.array(edges, np.float32) * size

    def mask(self, size: int) -> UInt8[np.ndarray, "size size"]:
        x, y = self._body_coordinates(size)
        head = np.hypot(x, y) - 0.08
        body = np.hypot(x / 0.5, y - 0.22) - 0.16
        edge_pixels = -np.minimum(head, body) * self.scale * size
        return np.rint(np.clip(edge_pixels + 0.5, 0, 1) * 255).astype(np.uint8)

    def frame(self, size: int) -> UInt8[np.ndarray, "size size 3"]:
        x, y = self._body_coordinates(size)
        waves = [np.sin(20 * x + 14 * y + self.phase + channel) for channel in range(3)]
        return np.rint(127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)

    def _body_coordinates(self, size: int) -> tuple[Float64[np.ndarray, "size size"], Float64[np.ndarray, "size size"]]:
        centers = (np.arange(size) + 0.5) / size
        x, y = np.meshgrid(centers, centers)
        return (x - self.x) / self.scale, (y - self.y) / self.scale


@st.composite
def figures(draw: st.DrawFn) -> Figure:
    return Figure(
        draw(st.floats(0.4, 0.6)), draw(st.floats(0.25, 0.35)), draw(st.floats(0.8, 1.2)), draw(st.floats(0, 6))
    )


def walks(most_frames: int = 4) -> SearchStrategy[list[Figure]]:
    """A clip: one figure per frame, at slightly different places."""
    return st.lists(figures(), min_size=1, max_size=most_frames)


def track_of(clip: list[Figure], size: int) -> PersonTrack:
    """Ground truth for a clip."""
    return PersonTrack(
        mask=np.stack([figure.mask(size) for figure in clip]),
        face_box=np.stack([figure.face_box(size) for figure in clip]),
        score=np.ones(len(clip), np.float32),
        landmarks=no_landmarks(len(clip)),
    )


def frames_of(clip: list[Figure], size: int) -> UInt8[np.ndarray, "f size size 3"]:
    """The picture of a clip."""
    return np.stack([figure.frame(size) for figure in clip])
