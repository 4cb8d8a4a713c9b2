"""Pseudo clips by the same-ID model: no other program and no other weights are needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from directanimator import animate
from directanimator.animator import DirectAnimatorPipeline
from directanimator.errors import UserError
from directanimator.extraction.backends import digest_of_directory
from directanimator.perception.person import PersonPerception
from directanimator.pseudo.drivers import FailedDriverError

OWN_SIDE = 256
"""Least side to which the model's canvas is enlarged: in smaller pictures nets find no faces."""


@dataclass(frozen=True, eq=False)
class OwnDriver:
    """The model of a checkpoint, as it animates pictures.

    It is told no words: the caption beside a clip describes the clip's own person, whom the picture is to replace."""

    pipeline: DirectAnimatorPipeline
    checkpoint: Path
    perception: PersonPerception
    seed: int

    @property
    def made_with(self) -> Mapping[str, str]:
        """The checkpoint's bytes and the seed."""
        return {"checkpoint": digest_of_directory(self.checkpoint), "seed": str(self.seed)}

    def generate(self, reference: Path, driving: Path, output: Path) -> None:
        """Nothing; writes what `animate` makes.

        Raises: FailedDriverError for inputs that do not show the one person wanted."""
        scale = animate.scale_to(OWN_SIDE, self.pipeline.spec.data.size)
        request = animate.Request(reference, driving, output, seed=self.seed, scale=scale)
        try:
            animate.run(request, self.pipeline, self.perception)
        except UserError as error:
            raise FailedDriverError("refused", str(error)) from error
