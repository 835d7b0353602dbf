"""What is found out once for a model and a machine, in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs


def folder() -> Path:
    """Where rtstyle keeps what it could find out again."""
    return Path(platformdirs.user_cache_dir("rtstyle", appauthor=False))


def digest(content: dict[str, Any]) -> str:
    """A short name for plain values, the same for the same values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def remembered(kind: str, question: dict[str, Any], find_out: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The answer to a question, both plain values: that of an earlier run, else what `find_out` says, which is kept.
    A file that cannot be read or written counts as none."""
    path = folder() / kind / f"{digest(question)}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["question"] == question:
            return dict(kept["answer"])
    answer = find_out()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"question": question, "answer": answer}, indent=2) + "\n", encoding="utf-8")
    return answer
