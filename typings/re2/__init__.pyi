# What hostup_mcp uses of google-re2, which has no type information of its own.
# `Pattern` and `Match` have other names at run time: import them for type checking only.

from typing import AnyStr, Generic

class error(Exception): ...  # noqa: N801

class Options:
    max_mem: int
    log_errors: bool
    never_nl: bool
    never_capture: bool
    case_sensitive: bool

class Match(Generic[AnyStr]):
    @property
    def lastindex(self) -> int | None: ...
    def start(self, group: int = 0) -> int: ...
    def end(self, group: int = 0) -> int: ...
    def span(self, group: int = 0) -> tuple[int, int]: ...

class Pattern:
    @property
    def programsize(self) -> int: ...
    def search(
        self, text: AnyStr, pos: int | None = None, endpos: int | None = None
    ) -> Match[AnyStr] | None: ...
    def match(
        self, text: AnyStr, pos: int | None = None, endpos: int | None = None
    ) -> Match[AnyStr] | None: ...
    def subn(self, repl: AnyStr, text: AnyStr) -> tuple[AnyStr, int]: ...

class Set:
    @classmethod
    def SearchSet(cls, options: Options | None = None) -> Set: ...  # noqa: N802
    def Add(self, pattern: str) -> int: ...  # noqa: N802
    def Compile(self) -> None: ...  # noqa: N802
    def Match(self, text: str | bytes) -> list[int] | None: ...  # noqa: N802

def compile(pattern: str, options: Options | None = None) -> Pattern: ...  # noqa: A001
def escape(pattern: str) -> str: ...
def purge() -> None: ...
