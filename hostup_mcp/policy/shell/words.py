"""Reads one word: quotes and escapes undone, everything that a shell expands refused."""

from __future__ import annotations

import re
from typing import NoReturn

from hostup_mcp.policy.mismatch import shown
from hostup_mcp.policy.shell.tree import SyntaxRefusal, Word

_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=^-]+")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE_RUN = re.compile(r'[^"\\$`]+')
_GLOB = re.compile(r"[A-Za-z0-9_./:@%+,=*?-]+")
_EXPANSION = re.compile(
    r"\$(?:\(\(?|\{[^}]*\}?|'[^']*'?|\"[^\"]*\"?|[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!_-])?"
)
BLANKS = " \t"
_ENDS_WORD = " \t|&;<>"
_MUST_BE_QUOTED = {
    "{": ("brace", "braces are not expanded."),
    "}": ("brace", "braces are not expanded."),
    "[": ("bracket", "bracket patterns are not expanded."),
    "]": ("bracket", "bracket patterns are not expanded."),
    "~": ("tilde", "home folders are not looked up."),
    "!": ("exclamation_mark", "history is not expanded."),
}
_UNQUOTED_HINT = {"~": "; else write the absolute path: root's home is /root."}


class Refused(Exception):
    """The text is not in the grammar."""

    def __init__(self, refusal: SyntaxRefusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class WordReader:
    """Reads words from left to right. Every character is looked at a bounded number of times."""

    def __init__(self, text: str) -> None:
        """A reader at the beginning of a text.

        Args:
            text: any text; blanks and line feeds around it are left out.
        """
        self._text = text
        self._end = len(text.rstrip(" \t\n"))
        self._position = len(text) - len(text.lstrip(" \t\n"))

    def word(self) -> Word:
        """The word that begins here.

        Raises:
            Refused: it is not in the grammar.
        """
        text, start = self._text, self._position
        parts: list[str] = []
        quoted = has_glob = False
        while self._position < self._end:
            character = text[self._position]
            if plain := _PLAIN.match(text, self._position, self._end):
                parts.append(plain.group())
                self._position = plain.end()
            elif character in _ENDS_WORD:
                break
            elif character in "'\"\\":
                quoted = True
                parts.append(self._quoted(character))
            elif character in "*?":
                has_glob = True
                parts.append(character)
                self._position += 1
            else:
                parts.append(self._special(character, start))
        word = Word("".join(parts), has_glob, start, self._position - start)
        if has_glob:
            self._check_glob(word, quoted=quoted)
        elif text[start] == "=" and word.text.strip("="):
            self._refuse_unquoted(start, "leading_equals", "some shells look up a program here.")
        return word

    def _special(self, character: str, start: int) -> str:
        """A character with a meaning, outside quotes: literal where no shell reads it."""
        position = self._position
        if character in "$`":
            self._refuse_expansion(position)
        if character in "()":
            self.refuse(
                "parenthesis",
                f"{character} would open or close a subshell or a function.",
                position,
                1,
                "Quote it if it is an argument, as in find /var \\( -name a -o -name b \\); "
                "else send the commands without it.",
            )
        if character == "#" and position > start:
            self._position += 1
            return character
        if character == "#":
            self.refuse(
                "comment",
                "# starts a comment.",
                position,
                self._end - position,
                "Leave the comment out, or quote # if it is an argument.",
            )
        alone = position == start and _ends_word(self._text, position + 1, self._end)
        if character == "!" and alone:
            self._position += 1
            return character
        if character == "{" and self._text.startswith("{}", position):
            self.refuse(
                "brace",
                "{} is where -exec or xargs would put the file names for another program.",
                position,
                2,
                "Leave -exec or xargs out; find shows what it finds with -ls or -printf.",
            )
        code, why = _MUST_BE_QUOTED[character]
        return self._refuse_unquoted(position, code, why)

    def _refuse_unquoted(self, position: int, code: str, why: str) -> NoReturn:
        character = self._text[position]
        self.refuse(
            code,
            f"{character} is not quoted, and {why}",
            position,
            1,
            f"Quote it, as in '{character}', if it is an argument"
            f"{_UNQUOTED_HINT.get(character, '.')}",
        )

    def _quoted(self, character: str) -> str:
        match character:
            case "'":
                return self._single()
            case '"':
                return self._double()
            case _:
                return self._escape()

    def _single(self) -> str:
        closed = _SINGLE.match(self._text, self._position, self._end)
        if not closed:
            self._refuse_unclosed("'")
        self._position = closed.end()
        return closed.group(1)

    def _double(self) -> str:
        text, start = self._text, self._position
        self._position += 1
        parts: list[str] = []
        while self._position < self._end:
            if run := _DOUBLE_RUN.match(text, self._position, self._end):
                parts.append(run.group())
                self._position = run.end()
                continue
            pair = text[self._position : min(self._position + 2, self._end)]
            if pair[0] == '"':
                self._position += 1
                return "".join(parts)
            if pair[0] == "\\" and len(pair) == 2:
                parts.append(pair[1] if pair[1] in '"\\$`' else pair)
                self._position += 2
            elif pair == '$"':
                parts.append("$")
                self._position += 1
            elif pair[0] in "$`":
                self._refuse_expansion(self._position)
            else:
                break  # a backslash as the very last character
        self._position = start
        return self._refuse_unclosed('"')

    def _refuse_unclosed(self, quote: str) -> NoReturn:
        self.refuse(
            "unclosed_quote",
            f"The quote {quote} is not closed.",
            self._position,
            self._end - self._position,
            f"Close it with {quote}.",
        )

    def _escape(self) -> str:
        start = self._position
        escaped = self._text[start + 1 : min(start + 2, self._end)]
        if not escaped or escaped.isalnum() or escaped == "\t":
            shown_escape = "\\" + {"\t": "TAB"}.get(escaped, escaped)
            self.refuse(
                "escape_refused",
                f"The backslash in {shown_escape} has no use outside quotes.",
                start,
                1 + len(escaped),
                "Leave the backslash out, or put the word in single quotes to keep it.",
            )
        self._position += 2
        return escaped

    def _refuse_expansion(self, position: int) -> NoReturn:
        text = self._text
        if text[position] == "`":
            token, code = "`", "substitution"
        else:
            found = _EXPANSION.match(text, position, self._end)
            token = found.group() if found else "$"
            code = "substitution" if token.startswith("$(") else "variable"
        if code == "substitution":
            message = f"The command substitution {token} runs another command."
            hint = "Send the inner command first, then write its output here."
        else:
            message = f"{shown(token)} would be expanded by the shell."
            hint = (
                "Write the value itself: commands run as root, whose home is /root, in the "
                "folder /. Put single quotes around it if it is meant literally."
            )
        self.refuse(code, message, position, len(token), hint)

    def _check_glob(self, word: Word, *, quoted: bool) -> None:
        why = ""
        parts = word.text.split("/")
        if quoted:
            why = "is in a word with quotes or escapes"
        elif not word.text.startswith("/"):
            why = "is in a word that is not an absolute path"
        elif not _GLOB.fullmatch(word.text):
            why = "is in a word with a special character"
        elif "**" in word.text:
            why = "is doubled, which some shells read as every folder below"
        elif "" in parts[1:] or "." in parts or ".." in parts:
            why = "is in a path with an empty or dotted part"
        elif any(part.startswith(".") and ("*" in part or "?" in part) for part in parts):
            why = "follows a leading dot, where shells disagree on . and .."
        if why:
            sign = "*" if "*" in word.text else "?"
            self.refuse(
                "glob_refused",
                f"The pattern {shown(word.text)} is not accepted: {sign} {why}.",
                word.offset,
                word.length,
                "Use shell patterns only in plain absolute paths, such as /var/log/*.log; put a "
                "pattern that the program itself reads in single quotes.",
            )

    # -------------------------------------------------------------- the position

    def skip_blanks(self) -> int:
        """Go on to the next word or sign; its position."""
        while self._position < self._end and self._text[self._position] in BLANKS:
            self._position += 1
        return self._position

    def refuse(self, code: str, message: str, offset: int, length: int, hint: str) -> NoReturn:
        """Give the text up, at this token."""
        raise Refused(SyntaxRefusal(code, message, offset, length, hint))


def _ends_word(text: str, position: int, end: int) -> bool:
    """Whether a word that has come to `position` ends there."""
    return position >= end or text[position] in _ENDS_WORD
