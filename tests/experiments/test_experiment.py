"""What one training leaves behind in the process that starts the next."""

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState

from experiments.edit import edit
from experiments.experiment import launch
from experiments.presets import PRESETS

SMOKE = PRESETS["smoke"].spec


@pytest.fixture(autouse=True)
def _no_precision_is_left() -> Iterator[None]:
    """accelerate keeps one for the whole process, and other tests name none."""
    yield
    AcceleratorState._reset_state()


@pytest.mark.parametrize("order", [("fp32", "bf16"), ("bf16", "fp32"), ("bf16", "bf16")])
def test_one_process_trains_in_one_precision_after_another(order: tuple[str, str]) -> None:
    for precision in order:
        accelerator = launch(edit(SMOKE, {"optim.precision": precision}))
        assert accelerator.mixed_precision == {"fp32": "no", "bf16": "bf16"}[precision]
