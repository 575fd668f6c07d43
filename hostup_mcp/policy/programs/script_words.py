"""Judges words for a program that is itself a script, which may read them a second time.

A shell script can hand its words to `eval`, leave an expansion unquoted, or write them into a
script of sed's. What the program at its end accepts says nothing about that, so the words of such
a program are judged by a rule of their own, whatever their types let through.
docs/script_programs.md says what each script was found to do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from hostup_mcp.policy.mismatch import Mismatch, shown
from hostup_mcp.policy.shell.tree import Word
from hostup_mcp.policy.traits import Script

# No shell reads any of these as anything but itself, quoted or not, wherever in a word.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")
_EXPANDED: Final = re.compile(r"[A-Za-z0-9_./:@%+,=*?~-]+")
_QUOTE: Final = "has a single quote, and the program is a script that puts single quotes around it"


def check_script_words(script: Script, words: Sequence[Word]) -> Mismatch | None:
    """Whether no word can be read a second time as anything but itself.

    Args:
        script: how the program treats its words.
        words: those after the program.

    Returns:
        None, or the first mismatch; its index counts from 0 at the first of `words`.
    """
    for index, word in enumerate(words):
        why = _misread(script, word)
        if why:
            return Mismatch("script_word", f"{shown(word.text)} {why}.", index, script.hint)
    return None


def _misread(script: Script, word: Word) -> str:
    """What is wrong with a word, as the end of a sentence; empty where nothing is."""
    text = word.text
    if script.words == "whole":
        return ""
    if script.words == "quoted":
        # gzip 1.3.12 to 1.14 forget to escape a quote at the end of an option; BSD leaves options
        # unquoted.
        if text.startswith("-") and not _PLAIN.fullmatch(text):
            return "is not a plain option, and the program is a script that needs plain options"
        return _QUOTE if "'" in text else ""
    signs = _EXPANDED if script.words == "expanded" else _PLAIN
    fits = signs.fullmatch(text) and not word.is_glob
    return "" if fits else "is not a plain word, and the program is a script on some systems"
