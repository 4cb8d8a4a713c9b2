"""What of a clip is stored, as arrays: sightings, and the cues."""

from collections.abc import Sequence

import numpy as np

from directanimator.extraction.store import Arrays, Codec
from directanimator.perception.person import Sighting
from directanimator.perception.region import Patch


def _encoded(sightings: Sequence[Sighting]) -> Arrays:
    """Masks may differ in size and be absent, so their pixels lie in one row, and their sides beside it."""
    masks = [sighting.mask for sighting in sightings]
    nowhere = np.zeros((2, 3))
    return {
        "levels": np.concatenate([np.zeros(0, np.uint8), *(mask.levels.ravel() for mask in masks if mask)]),
        "sides": np.array([mask.levels.shape if mask else (0, 0) for mask in masks], np.int32),
        "to_frame": np.stack([mask.to_frame if mask else nowhere for mask in masks]),
        "face_box": np.stack([sighting.face_box for sighting in sightings]),
        "score": np.array([sighting.score for sighting in sightings], np.float32),
        "landmarks": np.stack([sighting.landmarks for sighting in sightings]),
    }


def _decoded(arrays: Arrays) -> list[Sighting]:
    stops = np.cumsum(arrays["sides"].prod(axis=1, dtype=np.int64))
    sightings = []
    for i, (rows, columns) in enumerate(arrays["sides"].tolist()):
        levels = arrays["levels"][stops[i] - rows * columns : stops[i]].reshape(rows, columns)
        mask = Patch(levels, arrays["to_frame"][i]) if rows else None
        sightings.append(Sighting(mask, arrays["face_box"][i], float(arrays["score"][i]), arrays["landmarks"][i]))
    return sightings


SIGHTINGS: Codec[Sighting] = Codec(_encoded, _decoded)

FRAME_ARRAYS: Codec[dict[str, np.ndarray]] = Codec(
    encode=lambda frames: {name: np.stack([frame[name] for frame in frames]) for name in frames[0]},
    decode=lambda arrays: [
        {name: values[i] for name, values in arrays.items()} for i in range(len(next(iter(arrays.values()))))
    ],
)
