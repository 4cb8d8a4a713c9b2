"""The one base class of every spec: frozen, typed, closed. Knows no field of any component."""

from pydantic import BaseModel, ConfigDict


class FrozenSpec(BaseModel):
    """A value object: immutable, unknown fields refused, no silent type coercion, no NaN.

    Deviation: none known."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
