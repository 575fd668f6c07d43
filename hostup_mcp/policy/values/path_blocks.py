"""The data of the path rules: blocks that allow or deny, and places where going there matters."""

from __future__ import annotations

from dataclasses import dataclass

from hostup_mcp.policy.values.path_patterns import PathPattern


@dataclass(frozen=True, slots=True)
class PathBlock:
    """One block of rules: it allows, or denies.

    Attributes:
        allows: which of the two.
        patterns: of paths.
        protected: a deny block that no setting lifts.
        named: a deny block for what is asked for by name. A pattern or a folder is denied only
            where all that it stands for has such a name; one that merely may reach it is not.
        why: of a deny block, what else than a secret it keeps in.
    """

    allows: bool
    patterns: tuple[PathPattern, ...]
    protected: bool = False
    named: bool = False
    why: str = ""

    def fits(self, path: str) -> PathPattern | None:
        """The first pattern that a path fits."""
        if self.allows:
            return next((p for p in self.patterns if p.expression.fullmatch(path)), None)
        lower = path.lower()
        return next((p for p in self.patterns if p.folded.expression.fullmatch(lower)), None)

    def denies(self, *meant: PathPattern) -> PathPattern | None:
        """The first pattern for which a deny block denies any of these patterns."""
        folded = [one.folded for one in meant]
        for pattern in self.patterns:
            relation = pattern.folded.covers if self.named else pattern.folded.meets
            if any(relation(one) for one in folded):
                return pattern
        return None


@dataclass(frozen=True, slots=True)
class Places:
    """Paths of which it matters that a program goes there at all, whatever it reads.

    Attributes:
        automounts: folders in which something is mounted as soon as one is entered.
        unlisted: likewise, but no walk that begins elsewhere comes there.
        ways: links of the kernel's own that lead to any other path.
        disks: block devices.
        kernel: trees in which only what is in `folders` or `disks` may be opened.
        folders: folders in the kernel's trees and in those of FIFOs that are there on every system.
        fifos: trees in which FIFOs are made by anybody, or by services.
        spares_root: whether a walk from / on may enter an automount.
    """

    automounts: tuple[PathPattern, ...] = ()
    unlisted: tuple[PathPattern, ...] = ()
    ways: tuple[PathPattern, ...] = ()
    disks: tuple[PathPattern, ...] = ()
    kernel: tuple[PathPattern, ...] = ()
    folders: tuple[PathPattern, ...] = ()
    fifos: tuple[PathPattern, ...] = ()
    spares_root: bool = True
