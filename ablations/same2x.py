"""Cross-ID training without its same-ID teacher."""

from ablations.ablation import Ablation, Expectation, Published

NO_SAME2X = Ablation(
    name="no_same2x",
    question="Does alignment to the same-ID teacher make cross-ID training better at equal steps?",
    edits={"same2x.enabled": False},
    expects=Expectation(metric="cross/psnr_foreground", direction="lower", at_least=0.3),
    source=Published(
        table="3",
        row="S8",
        values={"fid": 32.21, "ssim": 0.691, "fis": 0.530, "fvd": 290.43},
        note="two readings agree on FID, the largest loss of all rows; another reads FIS 0.368, FVD 284.69",
    ),
)
