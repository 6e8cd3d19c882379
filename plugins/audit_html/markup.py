"""Elements of the page. Text becomes text, never markup: the standard library's serialiser escapes it."""

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


def html(root: Element) -> str:
    """Return the document."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def printable(text: str) -> str:
    """Return text of an untrusted run without control and bidirectional characters, and of limited length."""
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in cut)
