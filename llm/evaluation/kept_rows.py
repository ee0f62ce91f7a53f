"""What an evaluation has finished, in a file, to go on where it was killed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pessimism.messages import one_line

Row = dict[str, float]


class KeptRows:
    """Rows of finished batches, in a file of JSON lines if there is one: settings first, then a line per batch."""

    def __init__(self, path: Path | None, settings: dict[str, Any]) -> None:
        self.path, self.rows = path, list[Row]()
        if path is None:
            return
        settings = json.loads(json.dumps(settings))
        written = path.read_bytes() if path.exists() else b""
        lines = written[: written.rfind(b"\n") + 1].splitlines(keepends=True)  # a torn last line was not finished
        try:
            before, *batches = [json.loads(line) for line in lines] or [settings]
            other = [name for name in settings if before.get(name) != settings[name]]
            self.rows = [row for batch in batches for row in batch]
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"{path} is no file of an evaluation: {one_line(error)}") from None
        if other:
            said = ", ".join(f"{name}={before[name]!r}" if name in before else f"no {name}" for name in other)
            which = f"of other examples ({said})" if other == ["examples_sha256"] else f"with {said}"
            raise ValueError(f"{path} holds an evaluation {which}: name another file")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.truncate(sum(map(len, lines)))
        if not lines:
            self._write(settings)

    def add(self, rows: list[Row]) -> None:
        """Keep the rows of a batch."""
        self.rows += rows
        if self.path is not None:
            self._write(rows)

    def _write(self, said: Any) -> None:
        assert self.path is not None
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")
            file.flush()
            os.fsync(file.fileno())
