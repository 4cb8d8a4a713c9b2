"""From the names in a spec to nets that look."""

from pathlib import Path

from directanimator.assets import MANIFEST
from directanimator.extraction.extract import Watch
from directanimator.extraction.spec import PerceptionSpec
from directanimator.perception.mediapipe import NETS, MediapipePerception


def watch_of(spec: PerceptionSpec, mask_weights: Path | None, face_weights: Path | None) -> Watch:
    """Who looks, as the spec says.

    Raises: UserError if weights are missing."""
    identity = {asset.name: asset.sha256 for asset in MANIFEST if asset.name in NETS}
    return Watch(lambda: MediapipePerception(spec.person), identity)
