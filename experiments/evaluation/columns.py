"""The scores of clips that tables have columns for. Imports nothing, so that who only names them is quick."""

METRICS = {"psnr": 2, "psnr_foreground": 2, "psnr_face": 2, "ssim": 3, "mask_iou": 3, "motion": 3, "identity": 3}
"""Columns, with their decimals."""
SHARES = ("identity",)
"""Columns whose clips say yes (1) or no (0)."""
