"""Same2X alignment: the cross-ID student's tokens follow the frozen same-ID teacher's.

Source: Beyond Skeletons, section on Same2X."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def s2x_loss(student: Float[Tensor, "b n d"], teacher: Float[Tensor, "b n d"]) -> Float[Tensor, ""]:
    """Negative mean cosine similarity of matching video tokens, in [-1, 1]; -1 when all point the same way.

    The teacher is detached here, so that callers cannot forget.
    Source: Beyond Skeletons, L_S2X. Deviation: none known; no projection head, since both widths are equal."""
    return -F.cosine_similarity(student.float(), teacher.detach().float(), dim=-1).mean()
