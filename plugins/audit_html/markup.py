"""Elements of the page. Text becomes text, never markup: the standard library's serialiser escapes it."""

import os
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from xml.etree.ElementTree import Element, SubElement, tostring

LONGEST = 2000
"""Characters of one text: an untrusted message must not fill the page."""

Child = Element | str | None


def node(tag: str, *children: Child, **attributes: str | int | bool | None) -> Element:
    """Make an element. ``class_`` and ``for_`` lose their last character, ``data_x`` is ``data-x``; None omits one."""
    made = Element(tag)
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        made.set(name.rstrip("_").replace("_", "-"), "" if value is True else printable(str(value)))
    add(made, *children)
    return made


def add(parent: Element, *children: Child) -> None:
    """Append elements and texts."""
    for child in children:
        if isinstance(child, Element):
            parent.append(child)
        elif child:
            last = parent[-1] if len(parent) else None
            if last is None:
                parent.text = (parent.text or "") + printable(child)
            else:
                last.tail = (last.tail or "") + printable(child)


def raw(parent: Element, tag: str, text: str, **attributes: str) -> None:
    """Append a script or a style. Raises ValueError if the text would end it early."""
    if "</" in text or "<!--" in text:
        raise ValueError(f"the text of a {tag} element would end it early")
    SubElement(parent, tag, attributes).text = text


def asset(name: str) -> str:
    """Return the text of a file that comes with the pages."""
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read()


def header(title: str, style: str, scripts: Sequence[str] = ()) -> Element:
    """Return the head of a page that loads nothing, and runs ``scripts`` alone."""
    allowed = {"style-src": [style], "script-src": scripts}
    sources = "".join(f"{kind} {' '.join(map(_hash, texts))}; " for kind, texts in allowed.items() if texts)
    policy = f"default-src 'none'; {sources}base-uri 'none'; form-action 'none'"
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", http_equiv="Content-Security-Policy", content=policy),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("meta", name="color-scheme", content="light dark"),
        node("title", f"{title} - checkpoint audit"),
    )
    raw(head, "style", style)
    return head


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def html(root: Element) -> str:
    """Return the document."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def printable(text: str) -> str:
    """Return text of an untrusted run without control and bidirectional characters, and of limited length."""
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in cut)
