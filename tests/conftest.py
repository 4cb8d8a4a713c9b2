"""How hard hypothesis looks (HYPOTHESIS_PROFILE: dev, ci, deep), and how many threads a test may take."""

import os

import jaxtyping
import pytest
from hypothesis import HealthCheck, settings

# Read when torch is imported, so before any test module is.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MKL_NUM_THREADS"] = "1"

# Speed of the machine is no property of the code.
QUIET = (HealthCheck.too_slow,)
settings.register_profile("dev", max_examples=25, deadline=None, suppress_health_check=QUIET)
settings.register_profile("ci", max_examples=30, deadline=None, derandomize=True, suppress_health_check=QUIET)
settings.register_profile("deep", max_examples=500, deadline=None, suppress_health_check=QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture
def unchecked_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns jaxtyping off, as it is for users, so that the library's own checks are what answers."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
