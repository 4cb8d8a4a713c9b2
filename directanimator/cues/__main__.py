"""`python -m directanimator.cues`: the driving cues of a video, or of a folder of them."""

import sys

from directanimator.extraction.command import main

sys.exit(main())
