"""The report as one HTML page: a section a module, put together by `page`."""

from .page import check_installed, to_html

__all__ = ["check_installed", "to_html"]
