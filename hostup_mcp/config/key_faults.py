"""Recognises values that are certainly no secret: a placeholder, a variable, a path.

HostUp does not document what its keys look like, so every other text is accepted as a key.
"""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = (
    r"(?:HOSTUP_[A-Z0-9_]+|(?:[A-Z_]+_)?(?:API_?KEY|TOKEN|SECRET|KEY)"
    r"|(?i:(?:x-)?api[_-]?key|authorization))"
)
_WORDS: Final = (
    r"(?:your?|my|own|the|a|an|hostup|http|mcp|api|access|auth|bearer|key|token|secret|password"
    r"|here|goes|insert|enter|put|paste|add|fill|replace|change|set|in|me|with|this|it|to|do|real|actual"
    r"|example|sample|dummy|fake|placeholder|fixme|tbd|none|null|nil|undefined|unset|empty"
    r"|value|redacted|hidden|string|text)"
)
_QUOTES: Final = (
    "\"'`\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\u00b4"
)
_FAULTS: Final = tuple(
    (re.compile(pattern), said)
    for pattern, said in (
        (
            # A sign alone may stand in a key, so each form has its end too, or is all there is.
            r"\$\{[^{}]*\}|\$\([^()]*\)|\{\{[^{}]*\}\}|^\$\{[A-Za-z_]\w*$"
            r"|^\$?\$(?i:env:)?[A-Za-z_]\w*:?$|^\$[A-Z_]{3,}/|^%%?[A-Za-z_]\w*%%?$|^%[a-zA-Z]/"
            r"|^%\([A-Za-z_]\w*\)s?$|^[%#]\{[^{}]*\}$|^<%.*%>$|^\{[A-Za-z]+:[^}]*\}$"
            r"|^`[^`]*`$|^\$$|^@@?[A-Za-z_]\w*@@?$|^__[A-Za-z]\w*__$"
            r"|^(?i:env|process\.env|os\.environ|import\.meta\.env|deno\.env)[:.\[(]"
            r"|^(?i:system\.|os\.)?(?i:getenv)\(|^ENC\[|^(?:secrets|vars|inputs)\.[A-Z_]+$",
            "it is a variable that was not filled in",
        ),
        (r"(?s)^-{3,}\s?BEGIN ", "it is a PEM block"),
        (r"(?is)^\s*<(?:!doctype|html|\?xml|head|body)\b", "it is a page, not a key"),
        (r"^<+[^<>]*>+$|^\[+[^\[\]]*\]+$|^\{[\w -]*\}$|^\(+[\w -]*\)+$", "it is a placeholder"),
        (r"(?s)^\{\s*\".*\}$|^\[\s*[\"{].*\]$", "it is a JSON document, not the key in it"),
        (
            rf"(?m)^\s*(?:export\s+|set\s+|setx\s+|\$env:)?[\"']?{_NAME}[\"']?\s*[=:]|^KEY[=:]",
            "it begins with a name; give only the value after the name",
        ),
        (rf"^{_NAME}$", "it is a name instead of a key"),
        (
            rf"^\\?([{_QUOTES}]).*[{_QUOTES}]$|^[{_QUOTES}][\w-]+$|^[\w-]+[{_QUOTES}]$",
            "it has quotes around it; leave them out",
        ),
        (
            r"(?i)^(?:bearer|basic|token)(?::|[ \t])",
            "it begins with a scheme such as Bearer; give only the key",
        ),
        (
            r"(?i)^[a-z][a-z0-9+.-]*://|^(?:vault|keychain|keyring|sops|ssm):|^arn:aws|^@microsoft\."
            r"|^projects/[^/]+/secrets/",
            "it is a reference to where the key is, not the key",
        ),
        (
            r"^![ \t]?[A-Za-z/][^ \t]*[ \t]|^!(?:/[\w.-]+){2,}$|^exec:"
            r"|^(?:cat|echo|pass|gopass|op|bw|printenv|security) ",
            "it is a command",
        ),
        (
            r"^@?(?:~|\.{1,2})/|^@/|^[A-Za-z]:\\|^\\\\\w|^file:|\.(?:txt|env|toml|json|ya?ml)$"
            r"|^/(?:home|root|etc|run|var|opt|srv|usr|tmp|mnt|dev|app|data|config|private|secrets?"
            r"|Users|Library|Volumes|workspace)/|^/(?:key|secret|token)$",
            "it is a path; use the setting for a file",
        ),
        (
            rf"(?i)^(?:{_WORDS}[-_ .:/]*)+$"
            r"|^(.)\1{2,}$|\.{3}$|\u2026|\*{3}|(?i:x{6,})$|^(?i:x{3,}[-_]?)+$|^[a-z]{2,5}_x{4,}$"
            r"|^[0-]{8,}$|^[-?.]{1,2}$|^(?i:n/a|\(null\)|true|false|nan)$|\[redacted\]|^1234567890?$",
            "it is a placeholder",
        ),
    )
)
_LONGEST: Final = 4096
_LONGEST_PLACEHOLDER: Final = 60


def key_fault(text: str) -> str:
    """Why a text is certainly not a key or token; empty if it may be one. It quotes no text."""
    text = text.strip()[:_LONGEST].removeprefix("\ufeff")
    for pattern, said in _FAULTS:
        is_long = len(text) > _LONGEST_PLACEHOLDER and said == "it is a placeholder"
        if not is_long and pattern.search(text):
            return said
    return ""
