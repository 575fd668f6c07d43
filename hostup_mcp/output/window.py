"""A window on a long text: its head and its tail, and exactly what was left out."""

from __future__ import annotations


def window(text: str, max_characters: int) -> str:
    """The text, or its head and tail with a line between that says what is missing.

    Args:
        text: any text.
        max_characters: how much of it is kept, half from each end, cut at line ends where the
            half has one.
    """
    if len(text) <= max_characters:
        return text
    half = max_characters // 2
    head, tail = text[:half], text[len(text) - half :]
    if (end := head.rfind("\n")) > 0:
        head = head[: end + 1]
    if 0 <= (start := tail.find("\n")) < len(tail) - 1:
        tail = tail[start + 1 :]
    missing = text[len(head) : len(text) - len(tail)]
    note = (
        f"[left out here: {len(missing)} characters, {missing.count(chr(10))} line ends, of "
        f"{len(text)} characters in all; filter in the command to see a part]"
    )
    return f"{head.rstrip(chr(10))}\n{note}\n{tail}"
