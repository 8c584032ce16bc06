"""The report in Markdown: a section a module, put together by `page`."""

from .markup import table
from .page import to_markdown

__all__ = ["table", "to_markdown"]
