"""Laws of the Same2X alignment loss."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from directanimator.objective.same2x import s2x_loss

seeds = st.integers(0, 2**31)


def tokens(seed: int, batch: int = 2) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, batch, 5, 8, generator=torch.Generator().manual_seed(seed))
    return student, teacher


@given(seeds, st.floats(0, 1))
def test_loss_lies_between_minus_one_and_one(seed: int, mix: float) -> None:
    student, other = tokens(seed)
    for teacher in (other, mix * student + (1 - mix) * other, -student):
        assert abs(float(s2x_loss(student, teacher))) <= 1 + 1e-6


@given(seeds)
def test_loss_is_minus_one_at_equality_and_one_at_the_opposite(seed: int) -> None:
    student, _ = tokens(seed)
    assert float(s2x_loss(student, student)) == pytest.approx(-1, abs=1e-6)
    assert float(s2x_loss(student, -student)) == pytest.approx(1, abs=1e-6)


@given(seeds, st.integers(0, 2**31))
def test_loss_ignores_the_length_of_every_token(seed: int, scale_seed: int) -> None:
    student, teacher = tokens(seed)
    lengths = torch.rand(2, 2, 5, 1, generator=torch.Generator().manual_seed(scale_seed)) * 10 + 0.1
    scaled = s2x_loss(student * lengths[0], teacher * lengths[1])
    torch.testing.assert_close(scaled, s2x_loss(student, teacher), rtol=1e-4, atol=1e-5)


@given(seeds)
def test_the_teacher_gets_no_gradient_and_the_student_does(seed: int) -> None:
    student, teacher = (part.requires_grad_() for part in tokens(seed))
    s2x_loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.any()


@given(seeds)
def test_a_step_along_the_gradient_brings_the_student_nearer(seed: int) -> None:
    student, teacher = tokens(seed)
    student.requires_grad_()
    loss = s2x_loss(student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert s2x_loss(student - gradient, teacher) < loss


@given(seeds, st.integers(1, 4))
def test_loss_of_a_batch_is_the_mean_of_its_items(seed: int, batch: int) -> None:
    student, teacher = tokens(seed, batch)
    items = [s2x_loss(s, t) for s, t in zip(student.split(1), teacher.split(1), strict=True)]
    torch.testing.assert_close(s2x_loss(student, teacher), torch.stack(items).mean())


def test_each_token_is_compared_with_its_own_counterpart() -> None:
    axes = torch.eye(4)[None]
    assert float(s2x_loss(axes, axes.flip(1))) == 0


def test_a_token_of_zeros_gives_a_finite_loss_and_gradient() -> None:
    student = torch.zeros(1, 2, 4, requires_grad=True)
    s2x_loss(student, torch.ones(1, 2, 4)).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
