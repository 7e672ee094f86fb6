"""Reading of JSON objects from files that may be damaged."""

import json
from pathlib import Path
from typing import Any


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: the file cannot be read, or its content is no JSON object.
    """
    try:
        return parse_object(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error


def parse_object(text: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: the text is no JSON object, is nested deeper than anybody writes, or holds half a character, which
            JSON can say and no file can hold.
    """
    try:
        data = json.loads(text)
        json.dumps(data, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a character") from error
    if not isinstance(data, dict):
        raise ValueError(f"it holds a {type(data).__name__}, expected an object")
    return data
