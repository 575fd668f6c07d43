"""Parses a text into a syntax tree: a strict subset of what every POSIX shell reads alike.

Accepted are simple commands of literal words, joined by `|`, `&&`, `||` and `;`, with redirections
to /dev/null and between stdout and stderr. Quotes and escapes are undone here. Whatever else a
shell knows is refused by name: it is never passed through. docs/policy.md has the grammar.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from hostup_mcp.policy.mismatch import shown
from hostup_mcp.policy.shell.tree import (
    CommandLine,
    Operator,
    Redirection,
    Stage,
    SyntaxRefusal,
    Word,
)
from hostup_mcp.policy.shell.words import BLANKS, Refused, WordReader

MAX_CHARACTERS: Final = 4096
"""Of a command, by HostUp's page post-v2-vps-id-agent-exec."""
MAX_STAGES: Final = 16
MAX_WORDS: Final = 128
MAX_PATTERNS: Final = 12

RESERVED_WORDS: Final = frozenset(
    """
    if then else elif fi do done case esac while until for in function select time coproc
    repeat foreach end always nocorrect noglob namespace typeset declare local export
    readonly integer float
    """.split()
)
"""Words that some shell reads as its own syntax where a program is named."""

_OUTSIDE = re.compile(r"[^\t\n -~]|\n")
_COMMAND = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*|(?:/[A-Za-z0-9_][A-Za-z0-9+._-]*)+")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_TEST = re.compile(r"\[\[?(?=[ \t]|$)")
# What is quoted or escaped, or else the sign that a here-document begins with.
_HERE = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.|(<<-?)""", re.DOTALL)
_REDIRECTION = re.compile(r"&>>?|[0-9]*(?:<<<|<<-|<<|<>|<&|<\(|>>|>&|>\||>\(|<|>)")

_WITHOUT: Final = {
    "time": "Send the command without time.",
    "function": "Send the commands themselves: functions are not accepted.",
    **dict.fromkeys(
        ("typeset", "declare", "local", "export", "readonly", "integer", "float"),
        "Write the value itself: variables are not kept or read.",
    ),
}
_SINK: Final = "/dev/null"
_DUPLICATIONS: dict[tuple[str, str], Redirection] = {
    ("2", "1"): "2>&1",
    ("", "2"): ">&2",
    ("1", "2"): ">&2",
}
_TO_SINK: dict[tuple[str, str], Redirection] = {
    ("", ">"): ">/dev/null",
    ("1", ">"): ">/dev/null",
    ("2", ">"): "2>/dev/null",
    ("", "<"): "</dev/null",
    ("0", "<"): "</dev/null",
}


def parse(text: str) -> CommandLine | SyntaxRefusal:
    """The syntax tree of a command, or why it has none.

    Args:
        text: any text at all; blanks and line feeds around it are ignored.
    """
    try:
        return _Parser(text).command_line()
    except Refused as refused:
        return refused.refusal


class _Parser(WordReader):
    """One pass from left to right. Every character is looked at a bounded number of times."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._words: list[Word] = []
        self._redirections: list[Redirection] = []
        self._count = 0
        self._patterns = 0

    def command_line(self) -> CommandLine:
        """The whole text.

        Raises:
            Refused: it is not in the grammar.
        """
        self._check_characters()
        stages: list[Stage] = []
        operator: Operator | None = None
        while True:
            self._stage(operator)
            stages.append(Stage(operator, tuple(self._words), tuple(self._redirections)))
            if self._position >= self._end:
                return CommandLine(tuple(stages))
            start = self._position
            operator = self._operator()
            if operator == ";" and self.skip_blanks() >= self._end:
                return CommandLine(tuple(stages))
            if len(stages) == MAX_STAGES:
                self.refuse(
                    "too_many_stages",
                    f"More than {MAX_STAGES} commands are joined together.",
                    start,
                    len(operator),
                    "Send some of them in a call of their own.",
                )

    def _check_characters(self) -> None:
        text, end = self._text, self._end
        if self._position >= end:
            self.refuse(
                "empty_command",
                "The command is empty.",
                0,
                len(text),
                "Send a command, for example: uptime",
            )
        if end - self._position > MAX_CHARACTERS:
            self.refuse(
                "command_too_long",
                f"The command has {end - self._position} characters; "
                f"{MAX_CHARACTERS} are the limit.",
                self._position,
                end - self._position,
                "Send a shorter command, or several.",
            )
        if outside := _OUTSIDE.search(text, self._position, end):
            self._refuse_character(outside.group(), outside.start())

    def _refuse_here_document(self, line_break: int) -> None:
        """Refuse the here-document that begins before this line break, if one does."""
        for found in _HERE.finditer(self._text, self._position, line_break):
            if found[1]:
                self._end = line_break
                self._refuse_redirection(found[1], found.start())

    def _refuse_character(self, character: str, offset: int) -> NoReturn:
        if character == "\n":
            self._refuse_here_document(offset)
            self.refuse(
                "line_break",
                "A command is one line; this one has a line break inside.",
                offset,
                1,
                "Send one command per call, or join them with && or ;",
            )
        if character.isascii():
            self.refuse(
                "control_character",
                f"The control character U+{ord(character):04X} is not accepted in a command.",
                offset,
                1,
                "Leave it out: shells agree only on printable ASCII and tabs.",
            )
        if "\ud800" <= character <= "\udfff":
            hint = "Leave it out: half of a surrogate pair is not a character and cannot be sent."
        else:
            octal = "".join(f"\\{byte:03o}" for byte in character.encode())
            hint = (
                f"To print it, write printf '{octal}'; in a search pattern, leave it out or "
                "write . in its place."
            )
        self.refuse(
            "non_ascii",
            f"The character {ascii(character)[1:-1]} is not ASCII: it can cut the guest agent's "
            "channel, and shells disagree on where it ends.",
            offset,
            1,
            hint,
        )

    # -------------------------------------------------------------- stages and operators

    def _stage(self, before: Operator | None) -> None:
        """Read words and redirections up to the next operator or the end."""
        self._words, self._redirections = [], []
        while self.skip_blanks() < self._end:
            character = self._text[self._position]
            redirection = _REDIRECTION.match(self._text, self._position, self._end)
            if redirection:
                self._redirect(redirection.group())
            elif character in "|&;":
                break
            else:
                self._refuse_test()
                self._add(self.word())
        if not self._words:
            self._refuse_missing_command(before)

    def _refuse_test(self) -> None:
        """Refuse `[` where a program is named; elsewhere it is a pattern of the shell."""
        found = _TEST.match(self._text, self._position, self._end)
        if found and not self._words:
            self.refuse(
                "bracket",
                f"{found.group()} is the shell's own test of a condition, not a program.",
                found.start(),
                len(found.group()),
                "Ask stat or ls about the file, and read the exit code.",
            )

    def _refuse_missing_command(self, before: Operator | None) -> NoReturn:
        at_end = self._position >= self._end
        token = before if at_end and before else self._text[self._position]
        self.refuse(
            "command_missing",
            f"A command is missing {'after' if at_end else 'before'} {token}.",
            self._end - len(token) if at_end else self._position,
            len(token),
            "Write a command on both sides of every operator.",
        )

    def _operator(self) -> Operator:
        text, start = self._text, self._position
        pair = text[start : start + 2]
        operators: tuple[Operator, ...] = ("&&", "||")
        for operator in operators:
            if pair == operator:
                self._position += 2
                return operator
        if pair == "|&":
            self._refuse_operator(
                "|&", "does not mean the same in every shell", "Write 2>&1 | in its place."
            )
        if pair == ";;":
            self._refuse_operator(";;", "belongs to a case statement", "Write one ; only.")
        if pair[0] == "&":
            self.refuse(
                "background",
                "& would leave the command running in the background.",
                start,
                1,
                "Leave & out: a command that outlasts the call keeps running, and "
                "vps_exec_result returns its result. To join commands, write && or ;",
            )
        self._position += 1
        return "|" if pair[0] == "|" else ";"

    def _refuse_operator(self, token: str, why: str, hint: str) -> NoReturn:
        self.refuse(
            "operator_refused", f"The operator {token} {why}.", self._position, len(token), hint
        )

    def _redirect(self, token: str) -> None:
        text, start = self._text, self._position
        if token.endswith("("):
            self.refuse(
                "substitution",
                f"The process substitution {token} runs another command.",
                start,
                len(token),
                "Send that command alone, or pipe its output to the other one.",
            )
        if not self._words:
            self.refuse(
                "redirection_first",
                f"The redirection {token} comes before the program.",
                start,
                len(token),
                "Write the program first.",
            )
        self._position += len(token)
        if token.endswith(">&"):
            target = text[self._position : self._position + 1]
            found = _DUPLICATIONS.get((token[:-2], target))
            redirections = (found,) if found else ()
        else:
            self.skip_blanks()
            target = _SINK if text.startswith(_SINK, self._position) else ""
            redirections = self._to_sink(token) if target else ()
        after = self._position + len(target)
        if not redirections or (after < self._end and text[after] not in " \t|&;"):
            self._refuse_redirection(token, start)
        self._position = after
        self._redirections += redirections

    def _to_sink(self, token: str) -> tuple[Redirection, ...]:
        if token.startswith("&"):
            return (">/dev/null", "2>&1")
        descriptor = token.rstrip("<>")
        sign = token.removeprefix(descriptor)
        found = _TO_SINK.get((descriptor, ">" if sign == ">>" else sign))
        return (found,) if found else ()

    def _refuse_redirection(self, token: str, start: int) -> NoReturn:
        code = "redirection_refused"
        what = (
            f"The redirection {token} is not accepted here; only 2>&1, >&2, and >, 2>, &> and "
            "< with /dev/null are."
        )
        hint = (
            "Leave it out: the result has stdout and stderr separately, and no file can be written."
        )
        if "<<" in token:
            code, what = "here_document", f"The here-document {token} would give a command input."
            hint = "Leave it out: no input can be given, and no file can be written."
        end = start + len(token)
        while end < self._end and self._text[end] in BLANKS:
            end += 1
        while end < self._end and self._text[end] not in " \t|;":
            end += 1
        self.refuse(
            code,
            what,
            start,
            end - start,
            hint,
        )

    # -------------------------------------------------------------- words

    def _add(self, word: Word) -> None:
        self._count += 1
        if self._count > MAX_WORDS:
            self.refuse(
                "too_many_words",
                f"The command has more than {MAX_WORDS} words.",
                word.offset,
                word.length,
                "Send fewer arguments in a call.",
            )
        self._patterns += word.is_glob
        if self._patterns > MAX_PATTERNS:
            self.refuse(
                "too_many_patterns",
                f"The command has more than {MAX_PATTERNS} patterns.",
                word.offset,
                word.length,
                "Send fewer patterns in a call.",
            )
        if not self._words:
            self._check_command_word(word)
        self._words.append(word)

    def _check_command_word(self, word: Word) -> None:
        raw = self._text[word.offset : word.offset + word.length]
        if word.text == "!":
            code, what = "negation", "The exit code cannot be negated with !."
            hint = "Leave ! out and read the exit code."
        elif _ASSIGNMENT.match(raw):
            code = "assignment"
            what = f"{shown(raw)} sets a variable, which can change what a program does."
            hint = "Leave the assignment out and write the value where it is needed."
        elif raw in RESERVED_WORDS:
            code, what = "reserved_word", f"{raw} is a word of the shell's own syntax."
            hint = _WITHOUT.get(
                raw, "Send simple commands, joined with |, && or ;, without loops or conditions."
            )
        elif raw != word.text or not _COMMAND.fullmatch(raw):
            code = "command_word"
            what = f"{shown(raw)} cannot name a program."
            hint = (
                "Write the program's plain name, unquoted, such as df, or its absolute path, "
                "such as /usr/bin/df."
            )
        else:
            return
        self.refuse(code, what, word.offset, word.length, hint)
