"""The part of a frame that something was drawn into; the rest of it need not be looked at."""

from typing import NamedTuple


class Window(NamedTuple):
    """Rows from top to bottom and columns from left to right, ends excluded: of samples, or of pixels.

    Has something in it, or is `Window.empty`."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def whole(cls, side: int) -> "Window":
        """All of a frame of side x side."""
        return cls(0, side, 0, side)

    @classmethod
    def empty(cls, side: int) -> "Window":
        """Nothing of a frame of side x side; joined with any window of it, that window."""
        return cls(side, 0, side, 0)

    def joined(self, other: "Window") -> "Window":
        """The smallest window around both, of one frame."""
        rows = min(self.top, other.top), max(self.bottom, other.bottom)
        return Window(*rows, min(self.left, other.left), max(self.right, other.right))

    def in_pixels(self, supersample: int) -> "Window":
        """Of a window of samples, all pixels that have a sample within it."""
        rows = self.top // supersample, -(-self.bottom // supersample)
        return Window(*rows, self.left // supersample, -(-self.right // supersample))

    def in_samples(self, supersample: int) -> "Window":
        """Of a window of pixels, all their samples."""
        return Window(*(supersample * edge for edge in self))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return self.bottom <= self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns, as an index of the frame."""
        return slice(self.top, self.bottom), slice(self.left, self.right)
