"""Features of clips kept on disk, found again by what they were made of: pixels, network, weights, parameters."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from directanimator.atomic import atomic_write

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class FeatureCache:
    """A folder of safetensors files. What cannot be used is reported in one line and made anew."""

    root: Path
    report: Callable[[str], None] = lambda line: None

    def get(self, source: Mapping[str, str], make: Callable[[], Arrays]) -> Arrays:
        """The arrays made of `source` (what they depend on, by name), from the folder or else made and put there.

        Raises: UserError if the folder cannot be written."""
        path = self.path(source)
        kept = self._read(path, source)
        if kept is not None:
            return kept
        made = {name: np.ascontiguousarray(array) for name, array in make().items()}
        content = save(made, metadata={"source": json.dumps(source, sort_keys=True)})
        atomic_write(path, content)
        return made

    def path(self, source: Mapping[str, str]) -> Path:
        """Where the arrays of `source` lie, by the sha256 of all of it."""
        key = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()
        return self.root / key[:2] / f"{key}.safetensors"

    def _read(self, path: Path, source: Mapping[str, str]) -> Arrays | None:
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                recorded = json.loads((file.metadata() or {}).get("source", "{}"))
                if recorded != source:
                    differing = [name for name in source if recorded.get(name) != source[name]]
                    self.report(f"{path}: cached features of another {', '.join(differing)}; made anew")
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as problem:
            self.report(f"{path}: cached features cannot be read ({problem}); made anew")
            return None
