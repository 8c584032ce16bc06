"""HTML from text that files hold: whatever it is, it is shown as text."""

from __future__ import annotations

import base64
import gzip
import html
import json
import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from shared_specs.errors import printable


class Html(str):
    """Markup of ours, with all text from files in it escaped already; a plain str is text, and is escaped."""


def text(value: object) -> Html:
    """Text as HTML that shows it, whatever it is, on one line. What is `Html` already stays as it is."""
    return value if isinstance(value, Html) else Html(html.escape(re.sub(" +", " ", printable(str(value)))))


def element(tag: str, *content: object, **attributes: object) -> Html:
    """An element around content, which is escaped unless it is `Html`.

    Attributes are escaped; one that is None is left out, True stands without a value, `class_` is `class`, and an
    underscore is a hyphen.
    """
    written = "".join(_attribute(name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    return Html(f"<{tag}{written}>{''.join(map(text, content))}</{tag}>")


def join(parts: Iterable[object], between: str = "\n") -> Html:
    """Parts one after the other, those that are empty left out."""
    return Html(between.join(text(part) for part in parts if part != ""))


def section(identity: str, heading: str, *parts: object) -> Html:
    """A section of the page with its heading; "" where there is nothing in it."""
    content = join(parts)
    if not content:
        return Html("")
    head = element("h2", heading, id=f"{identity}-heading")
    return element("section", join([head, content]), id=identity, aria_labelledby=f"{identity}-heading")


def paragraph(*content: object, **attributes: object) -> Html:
    return element("p", *content, **attributes)


def bullets(items: Iterable[object], **attributes: object) -> Html:
    """A list; "" without items."""
    written = [element("li", item) for item in items]
    return element("ul", join(written, ""), **attributes) if written else Html("")


def details(summary: object, *parts: object) -> Html:
    """What is shown when it is asked for, and on paper."""
    return element("details", join([element("summary", summary), *parts]))


def as_json(value: Any) -> Html:
    """JSON for within a script element, which nothing in it can end; what JSON has not, NaN and infinity, is null."""
    written = json.dumps(_finite(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Html(re.sub("[<>&]", lambda sign: f"\\u{ord(sign[0]):04x}", written))


@lru_cache(maxsize=4)
def packed(identity: str, content: str) -> Html:
    """Text that page.js unpacks: gzip in base64, which takes a third of the room and has no sign that ends a script."""
    written = base64.b64encode(gzip.compress(content.encode(), compresslevel=6, mtime=0)).decode()
    return Html(f'<script type="application/octet-stream" id="{identity}">{written}</script>')


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{text(value)}"'
