"""Input texts for the policy, made at random from a seed: ordinary, mutated and nonsense.

No text names a program that does harm, and none writes to a path outside the working folder, so
that a broken emitter breaks nothing but the test.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence

from tests.differential.world import ABSOLUTE, FILES, PLAIN_NAMES, World

OPERATORS = ("|", "&&", "||", ";")
REDIRECTIONS = (
    "2>&1", ">&2", "1>&2", ">/dev/null", "> /dev/null", ">\t/dev/null", "1>/dev/null",
    ">>/dev/null", "1>> /dev/null", "2>/dev/null", "2> /dev/null", "2>>/dev/null", "&>/dev/null",
    "&> /dev/null", "&>>/dev/null", "</dev/null", "< /dev/null", "0</dev/null", "0< /dev/null",
)  # fmt: skip

# Words of the shells' own syntax and their builtins, as arguments. Not among them: kill and its
# like, which a broken emitter could bring to run.
SHELL_WORDS = (
    "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "in",
    "function", "select", "time", "coproc", "repeat", "foreach", "end", "always", "nocorrect",
    "noglob", "namespace", "typeset", "declare", "local", "export", "readonly", "integer", "float",
    "echo", "eval", "exec", "exit", "test", "printf", "read", "set", "shift", "source", "trap",
    "true", "type", "ulimit", "unset", "wait", "alias", "builtin", "command", "let", "jobs", "cd",
)  # fmt: skip
# No file that exists: behind a > that is not quoted, it would be emptied.
PLAIN_WORDS = (
    "a", "b", "-n", "-e", "--", "-", "-la", "--sort=-pcpu", "2", "1", "0", "12", "a=b", "A=1",
    "a+=b", "x:y", "a,b", "a@b", "50%", "%1", "+5", "a^b", "^a", "a#b", "=", "==", "!", "/", "//",
    "/no/such/place", "./a", "..", "root@host:/x", "c1", "d1", "http://x/y", "-o=1,2", "a.b", "_",
)  # fmt: skip
HOSTILE_WORDS = (
    "$(d1)", "`d1`", "$x", "${x}", "$HOME", "$((1+1))", "$'\\x41'", '$"a"', "$", "$$", "$?", "$@",
    "<(d1)", ">(d1)", "<<E", "<<<x", "> f1", ">f1", ">|f1", "<>f1", "2>&-", ">&1", "3>&1", "&>f1",
    "|&", "&", ";;", ";&", "|", "||", "&&", ";", "(", ")", "(d1)", "{ d1; }", "{", "}", "{}",
    "{a,b}", "{1..3}", "{a,-exec}", "[", "]", "[[", "]]", "[a-z]*", "[!a]", "((", "))", "!", "!!",
    "!d1", "!-1", "~", "~root", "~+", "~-", "~/x", "a=~", "a=~root", "a:~", "=d1", "=x", "==d1",
    "=(d1)", "#", "# d1", "#a", "a#", "^a^b", "\\", "\\\\", "x\\", "\\n", "\\e", "'", '"', "''",
    '""', "'d1'", '"$(d1)"', "*", "?", "**", "a*", "?(a)", "*(a)", "@(a)", "+(a)", "!(a)", "-exec",
    "-rf", ";c1", "a b", " ", "  ", " a", "a ", "\t", "a\tb", "d1;d1", "a|d1", "a&d1", "a&&d1",
    "d1()", "%s", "%n$s", "a[0]=b", "a[$(d1)]", "x;#", "'; d1 #", '"; d1 #', "`", "``", "\\`d1\\`",
    "\\$(d1)", "${x:-$(d1)}", "$[1]", "'\"'\"'",
)  # fmt: skip
# Not to be accepted as they stand, or accepted in a harmless way.
NEAR_MISSES = (
    "A=1 d1", "A+=1 d1", "a[0]=b d1", "1=2 d1", "PATH=. d1", "if c1; then d1; fi", "! d1",
    "time d1", "(d1)", "( d1 )", "{ d1; }", "{ d1; d1", "d1()", "function d1", "[[ a", "[[ a || d1",
    "'[[' a || d1", "d1 &", "& d1", "|& d1", ";; d1", "&& ; d1", "||| d1", "| | d1", "; ; d1",
    "|| d1 &", "&>f1", "&> f1", ">f1", "> f1", ">/dev/nullx", ">/dev/null2", ">/dev/./null",
    ">/dev/null/", "2>f1", "3>/dev/null", "2>&1d1", "2>&-", ">&-", ">&1", ">&3", "2 >&1", "2> &1",
    "2>&2", "<f1", "<<E", "<<-E", "<<<a", "<>/dev/null", "<&0", ">|/dev/null", ">&/dev/null",
    "&>>f1", "\nd1", "\\\nd1", "\\\r\nd1", "\rd1", "\r\nd1", "a\rb", "\x0bd1", "\x0cd1", "\x00d1",
    "\x1b[31m", "\x7f", "\u00a0d1", "\u2003d1", "\u3000d1", "\ufeffd1", "\u4ebd0'", "'\u4ebd0'",
    "\u00e9", "\u202ed1", "# d1", "#d1", "d1 #", "\\", "x\\", "\\d1", "\\-o", "-\\o", "d\\1", "\\ ",
    "\\\t", "'", '"', "'a", '"a', '"a\\"', "'a\\'", '"$(d1)"', '"`d1`"', '"$x"', '"a$"', '"$"',
    '"\\$x"', '"\\\\"', '"\\a"', "''=x", '="x"', "''~", "''!", "''#", "~", "~+", "{a,b}", "[a]",
    "a*b", "*", "?", "'/'*", "/\\*", "/*", "/*/..", "/.*", "//*", "/./*", "/**", "/a/*.?",
    "$'\\x41'", '$"d1"', "a$",
)  # fmt: skip
EMPTY_WORDS = ("''", '""', "''\"\"", '""""', "''''")
GLOBS = (
    "*", "?", "??", "-*", "-?*", "x*", "*b", "*1*", "a*", "?b", ".h*", "*.hidden", "*/*", "sub*/*",
    "*/a*", "s?b/*", "*/none", "none*", "none*/*", "no?", "sub/*", "sub/-*", "a?b*", "*e*c", "*_*",
    "???*", "*d*", "sub/none*", "*/inner", "*=*", "*,*", "%*", "@*", "+*", "*:*", "*-*", "deep/*/*",
)  # fmt: skip

_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
_SPECIAL = "'\"\\$`;|&<>(){}[]*?~!#=%^ \t-,2"
_STRANGE = "\n\r\x0b\x0c\x00\x1b\x7f\u00a0\u2003\u3000\ufeff\u4ebd\u00e9"


class Commands:
    """An endless row of texts; the same seed gives the same row, whatever the folder."""

    def __init__(self, seed: str, world: World) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a test's inputs, to be made again
        self._world = world

    def text(self) -> str:
        """The next text."""
        draw = self._random.random()
        if draw < 0.7:
            made = self._line()
        elif draw < 0.9:
            made = self._mutated(self._line())
        else:
            made = self._soup()
        return self._world.at_home(made)

    # ---------------------------------------------------------------- ordinary lines

    def _line(self) -> str:
        stages = self._random.choices((1, 2, 3, 4, 6), (8, 8, 4, 2, 1))[0]
        parts = [self._pick(("", " ", "\n")), self._stage()]
        for _ in range(stages - 1):
            operator = self._pick(OPERATORS)
            parts += [self._pick(("", " ", "\t")), operator, self._pick(("", " ")), self._stage()]
        if self._chance(0.1):
            parts.append(self._pick((";", " ;", " ; ", "\n", "\t")))
        return "".join(parts)

    def _stage(self) -> str:
        words = [self._pick((*PLAIN_NAMES, *PLAIN_NAMES, *ABSOLUTE))]
        count = self._random.choices((0, 1, 2, 3, 5), (2, 5, 5, 3, 1))[0]
        if self._chance(0.001):
            count = self._random.randint(20, 160)
        words += [self._word() for _ in range(count)]
        while self._chance(0.15):
            words.insert(self._random.randint(1, len(words)), self._pick(REDIRECTIONS))
        if self._chance(0.02):
            words.insert(self._random.randint(0, len(words)), self._pick(NEAR_MISSES))
        blanks = self._pick((" ", " ", " ", "  ", "\t", " \t "))
        return blanks.join(words)

    def _word(self) -> str:
        makers = (
            lambda: self._pick(PLAIN_WORDS),
            lambda: self._pick(SHELL_WORDS),
            lambda: f"{FILES}/{self._pick(GLOBS)}",
            lambda: self._pick(EMPTY_WORDS),
            lambda: self._spelled(self._pick(HOSTILE_WORDS)),
            lambda: self._spelled(self._pick((*SHELL_WORDS, *PLAIN_WORDS))),
            lambda: self._spelled(self._characters(_PRINTABLE)),
            lambda: self._spelled(self._characters(_SPECIAL)),
        )
        (make,) = self._random.choices(makers, (25, 8, 12, 4, 26, 10, 7, 8))
        return make()

    def _spelled(self, meaning: str) -> str:
        """A text in quotes or escapes, as a whole or in pieces."""
        if self._chance(0.6):
            return self._piece(meaning)
        first, second = sorted(self._random.randint(0, len(meaning)) for _ in range(2))
        return "".join(
            self._piece(part)
            for part in (meaning[:first], meaning[first:second], meaning[second:])
            if part or self._chance(0.2)
        )

    def _piece(self, meaning: str) -> str:
        draw = self._random.random()
        if draw < 0.4:
            return "'" + meaning.replace("'", self._pick(("'\\''", "'\"'\"'"))) + "'"
        if draw < 0.7:
            return '"' + "".join(f"\\{c}" if c in '"\\$`' else c for c in meaning) + '"'
        if draw < 0.97 or not meaning:
            plain = string.ascii_letters + string.digits + "\t"
            return "".join(c if c in plain else f"\\{c}" for c in meaning) or "''"
        return meaning

    # ---------------------------------------------------------------- the others

    def _mutated(self, text: str) -> str:
        for _ in range(self._random.randint(1, 3)):
            at = self._random.randint(0, len(text))
            end = at + self._random.randint(1, 3)
            other = self._random.randint(0, len(text))
            match self._random.randrange(6):
                case 0:
                    text = text[:at] + text[end:]
                case 1:
                    text = text[:at] + text[at:end] * 2 + text[end:]
                case 2:
                    text = text[:at] + self._character() + text[at:]
                case 3:
                    text = text[:at] + self._character() + text[at + 1 :]
                case 4:
                    text = text[:other] + text[at:end] + text[other:]
                case _:
                    text = text[:at] + self._pick(NEAR_MISSES) + text[at:]
        return text

    def _character(self) -> str:
        if self._chance(0.1):
            return self._pick(_STRANGE)
        return self._pick(_SPECIAL if self._chance(0.7) else _PRINTABLE)

    def _soup(self) -> str:
        pools = (
            PLAIN_NAMES, ABSOLUTE, PLAIN_WORDS, SHELL_WORDS, HOSTILE_WORDS, OPERATORS, REDIRECTIONS,
            ("'", '"', "''", '""', "\\", " ", "\t"),
        )  # fmt: skip
        weights = (4, 1, 4, 2, 1, 2, 2, 1)
        tokens = [self._pick(PLAIN_NAMES) + " "] if self._chance(0.8) else []
        for _ in range(self._random.randint(1, 10)):
            (pool,) = self._random.choices(pools, weights)
            tokens.append(self._pick(pool) + self._pick((" ", " ", " ", "")))
        return "".join(tokens)

    def _pick(self, pool: Sequence[str]) -> str:
        return self._random.choice(pool)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _characters(self, alphabet: str) -> str:
        return "".join(self._random.choices(alphabet, k=self._random.randint(1, 12)))
