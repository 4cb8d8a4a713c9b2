"""DirectAnimator: animate the person of one reference image with the motion of a driving video, from raw pixels."""
