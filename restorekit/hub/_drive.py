"""Google Drive's page that stands before large files: "too large to be scanned for viruses, download anyway?"."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

from restorekit.hub.card import is_safe_address

__all__ = ["confirmed_address"]

_FORM = "download-form"
_FAMILY = ".google.com"  # the page and the file lie on different hosts of it


class _Form(HTMLParser):
    """Finds the form of the page, with its hidden fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = values.get("id") == _FORM
            self.action = values.get("action") if self._inside else self.action
        elif tag == "input" and self._inside and values.get("name"):
            self.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "form"


def confirmed_address(page: bytes, url: str) -> str | None:
    """Return the address behind a page that asks whether a file is to be downloaded.

    Args:
        page: The page.
        url: Its own address.

    Returns:
        The address of the file; ``None`` where the page asks nothing of the kind, or leads elsewhere.
    """
    form = _Form()
    form.feed(page.decode("utf-8", "replace"))
    if not form.action:
        return None
    target = urljoin(url, form.action)
    joint = "&" if urlsplit(target).query else "?"
    target = f"{target}{joint}{urlencode(form.fields)}" if form.fields else target
    return target if is_safe_address(target) and _belong_together(url, target) else None


def _belong_together(url: str, target: str) -> bool:
    here, there = (f".{urlsplit(address).hostname}" for address in (url, target))
    return here == there or (here.endswith(_FAMILY) and there.endswith(_FAMILY))
