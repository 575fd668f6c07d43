"""Decides whether the value after a name like `password` is a secret, and where it ends.

The name alone proves little: logs are full of `password: wrong` and `token = None`. In doubt a
value is a secret.
"""

from __future__ import annotations

import re
from typing import Final

from hostup_mcp.output.key_blocks import block_end

MARK_START: Final = b"[redacted: "

# Any longer value counts as a secret.
DOUBTFUL_MAX: Final = 256
_NAME_MAX: Final = 200
# For a value on the line below its name, where much else may be.
_SHORTEST: Final = 6

_STATES: Final = (
    rb"yes|no|true|false|on|off|none|null|nil|undefined|ok|set|unset|empty|required|optional|"
    rb"enabled|disabled|prompt|ask|never|unknown|auto|string|text|bool(?:ean)?|int(?:eger)?|str|"
    rb"bytes|files?|compat|sss|systemd|ldap|nis|db|winbind|wrong|incorrect|invalid|failed|failure|"
    rb"error|mismatch|missing|expired|changed|updated|locked|unlocked|accepted|rejected|denied|"
    rb"found|not|required|hidden|removed|masked|redacted|protected|encrypted|sha-?\d+|md5|"
    rb"yescrypt|bcrypt|scrypt|pbkdf2|argon2\w*|cleartext|plaintext"
)
_PLACEHOLDERS: Final = (
    rb"[*x.]{3,}|<[\w -]*>?|\[[\w -]*\]?|\{\{.*|\{[\w.]*\}?|\([\w .-]*\)?|[|>][+-]?|"
    rb"\$\{.*|\$[A-Z_][A-Z0-9_]*|\$[0-9@*]|\$\(.*|\$_?(?:GET|POST|SERVER|ENV|REQUEST)\[.*|%[sdqr]|"
    rb"%\(\w+\)s?|@\w+@|"
    rb"(?:os|process|self|this|request|req|args|opts|params|config|settings|env|var|local|module)"
    rb"\.[\w.]+[(\[]?.*|(?:getenv|env|get_env|getpass|input|lookup)\(.*|ENV\[.*"
)
_HARMLESS: Final = re.compile(rb"(?i:%s)[.,:;!?)]*|%s" % (_STATES, _PLACEHOLDERS), re.DOTALL)
_PATH: Final = re.compile(rb"(?:[a-z]+:)?(?:~|\.{1,2})?(?:/[a-z0-9_.@-]+){2,}/?")
_WORKING_DIRECTORY: Final = re.compile(rb"(?:~|/|\.|[A-Za-z]:\\)")
_PROSE: Final = re.compile(rb"\(?[A-Za-z'-]+[.,:;!?)]*")
_NEXT_WORD: Final = re.compile(rb"[ \t]+[A-Za-z(]")
# A value without quotes ends before a space, a closing quote, or the next setting on its line. It
# is matched in parts, because each repetition of a group takes memory.
_UNQUOTED: Final = re.compile(
    rb"(?:[^\s\"'`&;,]+|[\"'`](?=\w)"
    rb"|[&;,](?![ \t]{0,9}\\?[\"']?[A-Za-z_][\w.-]{0,64}\\?[\"']?[=:]|[,;]{0,64}(?:\s|\Z)))"
    rb"{1,1000}"
)
_LINE_START: Final = re.compile(
    rb"[ \t]*(?:[-#;][ \t]*)?[\"']?[\w.-]+[\"']?[ \t]*(:[ \t]+|=[ \t]+)"
)
_COMMENT: Final = re.compile(rb"(?<![ \t])[ \t]+#")
_WORD_AND_COLON: Final = re.compile(rb"\w[\w.-]*:[ \t]")
_PLAIN_NUMBER: Final = re.compile(rb"[0-9.,]+[a-z%]?")
_PLACEHOLDER_WORD: Final = re.compile(rb"[A-Z][A-Z_]+")
_WORD: Final = re.compile(rb"[A-Za-z-]+")
_NOT_A_VALUE: Final = re.compile(rb"[#-]|[\"']?[\w.-]{1,100}[\"']?[ \t]*[:=](?:\s|\Z)")
_DIGIT: Final = re.compile(rb"[0-9]")


def password(data: bytes, start: int, end: int) -> int:
    """The end of a password; `start` if the value is not one.

    A password may have several words: if the line is one setting, it is the rest of the line.
    """
    end = _value_end(data, start, end)
    if _is_plain(data[start:end], 4):
        return start
    if _is_quoted(data, start) or end - start > DOUBTFUL_MAX:
        return end
    separator = _own_line(data, start)
    if separator and not (separator == b":" and _WORD_AND_COLON.match(data, start)):
        return max(_setting_end(data, start), end)
    if _follows_colon(data, start) and _is_prose(data, start, end):
        return start
    return end


def working_directory_or_password(data: bytes, start: int, end: int) -> int:
    """Like `password`, for a name such as `pwd` that may also be the working directory."""
    if _WORKING_DIRECTORY.match(data, start):
        return start
    return password(data, start, end)


def token(data: bytes, start: int, end: int) -> int:
    """The end of a token or key; `start` if the value is not one, but words of a message."""
    end = _value_end(data, start, end)
    if end - start < 4 or _is_plain(data[start:end], 8):
        return start
    if _is_quoted(data, start) or end - start > DOUBTFUL_MAX:
        return end
    if _follows_colon(data, start):
        if _is_prose(data, start, end):
            return start
        if not _own_line(data, start) and not _DIGIT.search(data, start, end):
            return start
    return end


def option(data: bytes, start: int, end: int) -> int:
    """The end of an option's value; `start` if it is a usage text's name for the value."""
    end = _value_end(data, start, end)
    value = data[start:end]
    if len(value) > DOUBTFUL_MAX:
        return end
    if value.startswith(b"-") or _PLACEHOLDER_WORD.fullmatch(value) or _is_plain(value, 4):
        return start
    return start if not _is_quoted(data, start) and _is_prose(data, start, end) else end


def given(data: bytes, start: int, end: int) -> int:
    """The end of a value that can only be a secret; `start` if it is a placeholder."""
    return start if _is_plain(data[start:end], 1) else end


def with_digit(data: bytes, start: int, end: int) -> int:
    """The end of a long value with a digit in it; `start` without one, since it may be a word."""
    return end if _DIGIT.search(data, start, end) and data[start] != MARK_START[0] else start


def given_with_digit(data: bytes, start: int, end: int) -> int:
    """Like `given`, but `start` without a digit, since a long word may be a name."""
    return given(data, start, end) if _DIGIT.search(data, start, end) else start


def cell(data: bytes, start: int, end: int) -> int:
    """The end of a table's cell beside a name; `start` for a word, which is a column's heading."""
    if _WORD.fullmatch(data, start, end) or _is_plain(data[start:end], 4):
        return start
    return end


def next_line(data: bytes, start: int, _end: int) -> int:
    """The end of a value on the line below its name, as in YAML; `start` if there is none.

    The value is indented further than the name, and is not a name itself. After `|` or `>` it is
    all lines with that indentation.
    """
    line_start = data.rfind(b"\n", 0, start) + 1
    above = data[max(0, line_start - _NAME_MAX) : line_start].rstrip()
    key_line = above[above.rfind(b"\n") + 1 :]
    margin = data[line_start:start]
    if len(margin) <= len(key_line) - len(key_line.lstrip()):
        return start
    end = _line_end(data, start)
    value = data[start:end].strip(b"\"'")
    if _is_plain(value, 4):
        return start
    if key_line.endswith(b":"):
        is_other = _NOT_A_VALUE.match(data, start, end) or _is_prose_in(data, start, end)
        return start if is_other or len(value) < _SHORTEST else end
    while data.startswith(margin, end + 1):
        end = _line_end(data, end + 1)
    return start + len(data[start:end].rstrip())


def key_block(data: bytes, start: int, _end: int) -> int:
    """The end of the private key that begins here."""
    return start if data.startswith(MARK_START, start) else block_end(data, start)


def _value_end(data: bytes, start: int, end: int) -> int:
    """The end of a value. Without quotes, the rule's pattern finds only its beginning."""
    if _is_quoted(data, start):
        return end
    at = start
    while (found := _UNQUOTED.match(data, at)) is not None:
        at = found.end()
    return max(end, at)


def _own_line(data: bytes, start: int) -> bytes:
    """The separator, if the line has only a name and a value; else empty."""
    earliest = max(0, start - _NAME_MAX)
    line_start = data.rfind(b"\n", earliest, start) + 1 or earliest
    setting = _LINE_START.fullmatch(data, line_start, start)
    return setting[1][:1] if setting else b""


def _is_plain(value: bytes, digits: int) -> bool:
    """Whether a value is a state, a placeholder, a path or a number of fewer than `digits`."""
    if len(value) > DOUBTFUL_MAX:
        return False
    if value.startswith((b"[redacted", b"//")) or _HARMLESS.fullmatch(value):
        return True
    if _PLAIN_NUMBER.fullmatch(value) and len(value) < digits:
        return True
    return _PATH.fullmatch(value) is not None


def _is_quoted(data: bytes, start: int) -> bool:
    return data[start - 1 : start] in (b'"', b"'")


def _follows_colon(data: bytes, start: int) -> bool:
    return data[max(0, start - 20) : start].rstrip(b" \t").endswith(b":")


def _is_prose(data: bytes, start: int, end: int) -> bool:
    """Whether this is a word that another word follows."""
    return _PROSE.fullmatch(data, start, end) is not None and bool(_NEXT_WORD.match(data, end))


def _is_prose_in(data: bytes, start: int, end: int) -> bool:
    """Whether there are several words between `start` and `end`."""
    return data[start : start + 1] not in b"\"'" and b" " in data[start:end].strip()


def _line_end(data: bytes, start: int) -> int:
    end = data.find(b"\n", start)
    return len(data) if end < 0 else end


def _setting_end(data: bytes, start: int) -> int:
    end = _line_end(data, start)
    comment = _COMMENT.search(data, start, end)
    return start + len(data[start : comment.start() if comment else end].rstrip())
