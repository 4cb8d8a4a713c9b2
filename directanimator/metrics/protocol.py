"""What makes two numbers comparable."""

import hashlib
import json
from typing import Annotated

from pydantic import Field, ValidationError

from directanimator.errors import UserError
from directanimator.frozen import FrozenSpec


class Protocol(FrozenSpec):
    """How a number was measured. Numbers of different protocols are never put side by side."""

    metric: str
    """Name of the metric or of the family of metrics."""
    version: Annotated[int, Field(ge=1)]
    """Version of its definition."""
    size: Annotated[int, Field(ge=1)]
    """Side of the frames, in pixels."""
    fps: Annotated[float, Field(gt=0)]
    frames: Annotated[int, Field(ge=1)]
    """Video frames per clip."""
    clips: Annotated[int, Field(ge=1)]
    """Number of clips, N."""
    source: str
    """Where the clips come from."""
    split: str

    @property
    def id(self) -> str:
        """Eight hexadecimal digits of all fields."""
        record = json.dumps(self.model_dump(), sort_keys=True, allow_nan=False)
        return hashlib.sha256(record.encode()).hexdigest()[:8]

    @classmethod
    def of_record(cls, record: object) -> "Protocol":
        """The protocol that `model_dump` wrote.

        Raises: UserError if the record is not one."""
        try:
            return cls.model_validate(record)
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(["protocol", *map(str, first["loc"])])
            raise UserError(f"{path}: {first['msg']}") from error


def compare(first: Protocol, second: Protocol) -> None:
    """Nothing, when numbers of the two protocols may be compared.

    Raises: UserError that names each field in which they differ."""
    if first.id == second.id:
        return
    before, after = first.model_dump(), second.model_dump()
    differing = [f"{name} ({before[name]!r} and {after[name]!r})" for name in before if before[name] != after[name]]
    raise UserError(f"protocols {first.id} and {second.id} cannot be compared: they differ in {', '.join(differing)}")
