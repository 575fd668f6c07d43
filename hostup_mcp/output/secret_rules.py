"""The rules for secrets: one for each kind, each with its RE2 pattern.

Patterns of known token formats follow what their issuers publish. To add a rule, add it here, and
an example to `tests/test_redact.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hostup_mcp.output import secret_values as values
from hostup_mcp.output.key_blocks import BEGIN, END, KEY_LINE


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret.

    Attributes:
        name: replaces the secret in the text.
        hints: every text that the pattern matches contains one of these, in any letter case. The
            pattern is tried only on texts that do.
        pattern: an RE2 pattern. The secret is the group that matched, or the whole match if there
            are no groups; the rest of the match is kept.
        judge: gets the text, and the start and end of a possible secret. It returns the secret's
            end, or the start if it is not a secret.
    """

    name: str
    hints: tuple[str, ...]
    pattern: str
    judge: Callable[[bytes, int, int], int] | None = None


_KEY_LINES: Final = r"(?:\r?\n[A-Za-z0-9+/=]{16,})*(?:\r?\n[A-Za-z0-9+/]{1,15}={1,2})?"

# What may be between a name and its value; then the value, or only its first character if it has no
# quotes, because then the judge finds its end.
_CLOSED: Final = r"""(?:\\?["']\]?)?[ \t]*"""
_EQUALS: Final = rf"{_CLOSED}(?:=>|:=|=|:)[ \t]*"
_VALUE: Final = (
    r"""(?:\\"([^"\\\n]+)|[bru]?"((?:[^"\\\n]|\\.)+)|[bru]?'((?:[^'\\\n]|\\.)+)"""
    r"""|([^\s"'\x60=]))"""
)
_SUFFIX: Final = r"(?:[_-]?(?:hash|base|prod|dev|test|live|old|new|text|value|[0-9]{1,2}))?"
_PASSWORDS: Final = (
    r"(?:passw(?:or)?d|passwort|l(?:o|ö)senord|passphrase|passcode|(?:root|bind)_?pw)"
)
_TOKENS: Final = (
    r"(?:secret(?:[_-]?(?:access[_-]?)?key(?:[_-]?base)?)?|token|psk|_auth|credential"
    r"|(?:api|app|access|account|auth|private|encryption|encrypt|signing|sign|master|(?:pre)?shared"
    r"|session|jwt|hmac|cipher|deploy|admin|fernet|webhook|storage|license)[_-]?key)"
)
_TOKEN_HINTS: Final = ("secret", "token", "psk", "_auth", "credential", "key")
_PASSWORD_HINTS: Final = ("passw", "senord", "passphrase", "passcode", "pw")
_VALUE_HINTS: Final = ('value="', "value='")
# What may precede `pass` in one word; any word would include `bypass`.
_WHOSE: Final = (
    r"(?:db|sql|mysql|pg|redis|ldap|smtp|mail|imap|ftp|ssh|sudo|vnc|rpc|http|proxy|auth|bind|login"
    r"|root|user|admin|key|store|new|old)?"
)


def _on_next_line(names: str) -> str:
    return (
        rf"(?im)(?:^|[:-][ \t])[ \t]*[\"']?[\w.-]*{names}{_SUFFIX}{_CLOSED}:[ \t]*"
        r"(?:[|>][0-9]?[+-]?[0-9]?)?[ \t]*\r?\n[ \t]+([^\s])"
    )


def _attribute(names: str) -> str:
    return (
        rf"""(?i)\b(?:key|name)[ \t]*=[ \t]*["'][\w:.-]*{names}{_SUFFIX}["'][ \t]+"""
        r"""value=(?:"([^"\n]+)"|'([^'\n]+)')"""
    )


def _row(names: str) -> str:
    return rf"(?im)(?:^|\|)[ \t]*[\w.-]*{names}{_SUFFIX}[ \t]+\|[ \t]+([^|\s]+)[ \t]*\|?[ \t]*\r?$"


RULES: Final = (
    Rule(
        "private-key",
        ("private key", "openvpn static key"),
        rf"{BEGIN}((?s:.))",
        values.key_block,
    ),
    Rule(  # its start was cut off
        "private-key",
        ("private key",),
        rf"(?m)^((?:(?:{KEY_LINE}|[A-Za-z0-9+/]{{1,15}}={{0,2}})[ \t]*\r?\n)+[^\n]{{0,100}}?){END}",
    ),
    Rule(  # cut off at both ends: how OpenSSH, PKCS #1 and PKCS #8 keys begin in base64
        "private-key",
        ("b3BlbnNzaC1rZXktdjE", "IBAAKC", "IBADANBgkqhkiG9w0BAQEFAASC"),
        r"\b((?:b3BlbnNzaC1rZXktdjE|MII[A-Za-z0-9+/]{2}IBAAKC"
        r"|MII[A-Za-z0-9+/]{2}IBADANBgkqhkiG9w0BAQEFAASC)[A-Za-z0-9+/=]*" + _KEY_LINES + ")",
    ),
    Rule(  # a PEM file in base64, as in a kubeconfig: BEGIN (RSA |EC |OPENSSH |) PRIVATE KEY
        "private-key",
        ("LS0tLS1CRUdJTi",),
        r"(LS0tLS1CRUdJTi(?:BQUklWQVRFIEtFW|BSU0EgUFJJVkFURSBLRV|BFQyBQUklWQVRFIEtFW"
        r"|BPUEVOU1NIIFBSSVZBVEUgS0VZ|BFTkNSWVBURUQgUFJJVkFURSBLRV)[A-Za-z0-9+/=]*"
        + _KEY_LINES
        + ")",
    ),
    Rule(
        "putty-key",
        ("private-lines: ",),
        r"Private-Lines: [0-9]+\r?\n((?:[A-Za-z0-9+/=]+(?:\r?\n|\z))+)",
    ),
    Rule(
        "private-key",  # JSON Web Key
        ('"d"', '"p"', '"q"', '"dp"', '"dq"', '"qi"', '"k"'),
        r'"(?:d|p|q|dp|dq|qi|k)"[ \t]*:[ \t]*"([A-Za-z0-9_-]{40,})"',
    ),
    Rule("age-key", ("age-secret-key-",), r"\bAGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    Rule(
        "authorization",
        ("authorization",),
        r"""(?i)\bauthorization\\?["']?[ \t]*[:=][ \t]*\\?["']?"""
        r"""(?:(?:bearer|basic|token|negotiate|ntlm|apikey|bot)[ \t]+([^\s"',;\\]{4,})"""
        r"""|digest[ \t]+([^\n]+)|([^\s"',;\\]{16,}))""",
        values.given,
    ),
    Rule(
        "authorization", ("bearer",), r"(?i)\bbearer[ \t]+([a-z0-9._~+/=-]{16,})", values.with_digit
    ),
    Rule(
        "cookie",
        ("cookie:",),
        r"(?i)\b(?:set-cookie:[ \t]*[^=;\s]+=([^;\s]{8,})|cookie:[ \t]*([^=;\s]+=[^\n\"']{8,}))",
        values.given,
    ),
    Rule("jwt", ("eyj",), r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*){1,3}"),
    Rule("aws-key", ("akia", "asia"), r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    Rule("aws-signature", ("x-amz-sig",), r"X-Amz-Signature=([a-f0-9]{32,})"),
    Rule(
        "github-token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
    ),
    Rule(
        "gitlab-token",
        ("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-", "gloas-", "glagent-"),
        r"\bgl(?:pat|dt|rt|ptt|cbt|soat|oas|agent)-[A-Za-z0-9_.-]{16,}",
    ),
    Rule(
        "slack-token",
        ("xox", "xapp-", "hooks.slack.com/"),
        r"\bxox[a-z]-[A-Za-z0-9-]{10,}|\bxapp-[0-9]-[A-Za-z0-9-]{10,}"
        r"|hooks\.slack\.com/[a-z]+/([A-Za-z0-9/_-]{20,})",
    ),
    Rule("discord-webhook", ("/api/webhooks/",), r"/api/webhooks/[0-9]+/([A-Za-z0-9_-]{30,})"),
    Rule(
        "stripe-key",
        ("sk_live_", "rk_live_", "sk_test_", "rk_test_", "whsec_"),
        r"\b(?:[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{20,})",
    ),
    Rule(
        "google-key",
        ("aiza", "ya29.", "gocspx-"),
        r"\b(?:AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,})",
    ),
    Rule("anthropic-key", ("sk-ant-",), r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
    Rule(  # with a word before the key, or of one piece: OpenSSH has algorithms named sk-ssh-…
        "openai-key",
        ("sk-",),
        r"\b(sk-(?:(?:proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{20,}))",
        values.with_digit,
    ),
    Rule("npm-token", ("npm_",), r"\bnpm_[A-Za-z0-9]{30,}"),
    Rule("pypi-token", ("pypi-",), r"\bpypi-[A-Za-z0-9_-]{40,}"),
    Rule("huggingface-token", ("hf_",), r"\bhf_[A-Za-z0-9]{30,}"),
    Rule("telegram-token", (":aa",), r"(?:\b|bot)([0-9]{8,10}:AA[A-Za-z0-9_-]{32,})"),
    Rule("sendgrid-key", ("sg.",), r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    Rule("twilio-key", ("sk",), r"\bSK[0-9a-f]{32}\b"),
    Rule("digitalocean-token", ("_v1_",), r"\bdo[opr]_v1_[a-f0-9]{40,}"),
    Rule(
        "azure-key",
        ("accountkey=", "sharedaccesskey=", "sig=", "8q~"),
        r"(?i)(?:AccountKey|SharedAccessKey)=([a-z0-9+/=]{20,})|[?&;]sig=([a-z0-9%+/=_-]{20,})"
        r"|\b[a-z0-9_~.-]{3}8Q~[a-z0-9_~.-]{31,34}",
    ),
    Rule(
        "service-token",
        (
            *("tskey-", "hvs.", "hvb.", "dckr_", "glsa_", "glc_", "shpat_", "shpss_", "dapi"),
            *("atatt3", "nrak-", "lin_api_", "sntrys_", "sntryu_", "gsk_", "xai-", "r8_", "key-"),
        ),
        r"\b(?:tskey-[a-z]+-[A-Za-z0-9-]{10,}"  # Tailscale
        r"|hv[sb]\.[A-Za-z0-9_-]{20,}"  # Vault
        r"|dckr_[a-z]+_[A-Za-z0-9_-]{20,}"  # Docker Hub
        r"|gl(?:sa|c)_[A-Za-z0-9_+/=]{20,}"  # Grafana
        r"|shp(?:at|ss)_[A-Fa-f0-9]{32}"  # Shopify
        r"|dapi[a-f0-9]{32}"  # Databricks
        r"|ATATT3[A-Za-z0-9_=-]{20,}"  # Atlassian
        r"|NRAK-[A-Z0-9]{20,}"  # New Relic
        r"|lin_api_[A-Za-z0-9]{20,}"  # Linear
        r"|sntry[su]_[A-Za-z0-9_=+/-]{20,}"  # Sentry
        r"|gsk_[A-Za-z0-9]{30,}|xai-[A-Za-z0-9]{30,}|r8_[A-Za-z0-9]{30,}"  # Groq, xAI, Replicate
        r"|key-[0-9a-f]{32}\b)",  # Mailgun
    ),
    Rule(
        "url-password",
        ("://", "@tcp(", "@unix("),
        r"""://[^\s/:@"'<>?#\[]*:([^\s/"'<>]+)@|\b[\w.-]+:([^\s/:@"']+)@(?:tcp|unix)\(""",
        values.given,
    ),
    Rule(  # its first piece is no port
        "url-password",
        ("://",),
        r"""://[^\s/:@"'<>?#\[]+:([^\s/@"'<>]*[^0-9\s/@"'<>][^\s/@"'<>]*/[^\s@"'<>]*)@[\w\[]""",
        values.given,
    ),
    Rule(  # a token for the user's name
        "url-password",
        ("://",),
        r"""(?i)\bhttps?://([^\s/:@"'<>?#\[]{20,})@""",
        values.given_with_digit,
    ),
    Rule(
        "password-hash",
        ("$y$", "$gy$", "$7$", "$6$", "$5$", "$1$", "$2", "$apr1$", "$argon2", "$p$", "$h$"),
        r"\$(?:y|gy|7|6|5|1|apr1|2[abxy]?|argon2(?:id|i|d))\$[./A-Za-z0-9,=+$-]{20,}"
        r"|\$[PH]\$[./A-Za-z0-9]{31}",
    ),
    Rule(
        "password-hash",  # Dovecot, OpenLDAP, PostgreSQL, MySQL
        ("ssha", "{sha", "crypt}", "{plain", "{md5", "scram-sha-256$", "*"),
        r"\{(?:SSHA|SHA|MD5|PLAIN|[A-Z0-9-]*CRYPT|SSHA256|SSHA512|SHA256|SHA512)\}([^\s:\"'{}]{4,})"
        r"|SCRAM-SHA-256\$[0-9]+:([A-Za-z0-9+/=$:]{20,})|\B(\*[0-9A-F]{40})\b",
        values.given,
    ),
    Rule(
        "password",  # SQL
        ("identified", "password"),
        r"(?i)\b(?:identified[ \t]+(?:with[ \t]+\S+[ \t]+)?(?:by|as)(?:[ \t]+password)?"
        r"|password[ \t]*[ \t(])[ \t]*'([^'\n]+)'",
        values.given,
    ),
    Rule(
        "password",  # PHP
        ("define(", "define ("),
        r"""(?i)\bdefine[ \t]*\([ \t]*["'][A-Z0-9_]*(?:PASSWORD|PASS|KEY|SALT|SECRET|TOKEN)["']"""
        r"""[ \t]*,[ \t]*(?:"([^"\n]+)"|'([^'\n]+)')""",
        values.given,
    ),
    Rule(
        "password",  # XML
        ("password>", "passwd>", "passphrase>", "secret>", "token>", "key>"),
        r"(?i)<[\w:.-]*(?:password|passwd|passphrase|secret|token"
        r"|(?:api|private|secret|access)[_-]?key)>([^<\n]+)<",
        values.given,
    ),
    Rule(
        "password",  # Redis, netrc
        ("requirepass", "masterauth", "auth-pass", "user ", "login"),
        r"\b(?:requirepass|masterauth|auth-pass[ \t]+\S+)[ \t]+\"?([^\s\"]+)"
        r"|\buser[ \t]+\S+[ \t]+on[ \t]+(?:[^\s>]{1,64}[ \t]+){0,9}>(\S+)"
        r"|\blogin\s+\S+\s+password\s+(\S+)",
        values.given,
    ),
    Rule(
        "password",  # kickstart, OpenLDAP
        ("rootpw",),
        r"(?i)(?:^|[\s\"'])rootpw[ \t]+(?:--[a-z-]+[ \t]+)*\"?([^\s\"-][^\s\"]*)",
        values.option,
    ),
    Rule(
        "password",  # PostgreSQL's password file, at its usual ports
        (":543", ":6432:", ":*:"),
        r"(?m)(?:^|[\s:])(?:\*|[A-Za-z][\w.-]*|[0-9]+(?:\.[0-9]+){3}):(?:543[0-9]|6432|\*)"
        r":[^\s:]+:[A-Za-z_][^\s:]*:((?:\\.|[^\s:\\])+)\r?$",
        values.given,
    ),
    Rule(
        "kernel-key",  # sysctl, and ethtool -x
        ("_rss_key", "fastopen_key", "hash key:"),
        r"(?:netdev_rss_key|tcp_fastopen_key)[ \t]*[=:][ \t]*([0-9A-Fa-f][0-9A-Fa-f:,-]{3,})"
        r"|(?i)\bhash key:[ \t]*\r?\n[ \t]*([0-9a-f]{2}(?::[0-9a-f]{2}){7,})",
    ),
    Rule(
        "snmp-community",
        ("community", "com2sec", "snmp"),
        r"(?i)\b(?:r[ow]community6?|snmp-server[ \t]+community)[ \t]+\"?([^\s\"#]+)"
        r"|\bcom2sec6?[ \t]+(?:-Cn[ \t]+\S+[ \t]+)?[^\s-]\S*[ \t]+\S+[ \t]+\"?([^\s\"#]+)"
        r"|\bsnmp(?:get|getnext|bulkget|walk|bulkwalk|set|table|status|df|trap)\b"
        r"[^\n|;]{0,300}?[ \t]-c[ \t]*[\"']?([^\s\"']+)",
        values.given,
    ),
    Rule(
        "password",  # programs that take it in an argument of their own
        ("mysql", "mariadb", "sshpass", "redis-cli", "curl", "pass:"),
        r"\b(?:mysql|mariadb)(?:dump|admin|import|check|show|-[a-z]+)?\b"
        r"[^\n|;]{0,300}?[ \t]-p([^\s\"']+)"
        r"|\bsshpass[ \t]+-p[ \t]*[\"']?([^\s\"']+)"
        r"|\bredis-cli\b[^\n|;]{0,300}?[ \t](?:-a|--pass)[ \t]+[\"']?([^\s\"']+)"
        r"|\bcurl\b[^\n|;]{0,300}?[ \t](?:-u|--user)[ \t]*[\"']?[^\s:\"']+:([^\s\"']+)"
        r"|-pass(?:in|out)?[ \t]+pass:(\S+)",
        values.given,
    ),
    Rule(
        "password",
        ("login",),
        r"\b(?:docker|podman|buildah|skopeo|nerdctl|oras|helm|az|oc)\b[^\n|;]{0,200}?[ \t]login\b"
        r"[^\n|;]{0,200}?[ \t]-p(?:[ \t]+|=)[\"']?([^\s\"']+)",
        values.option,
    ),
    Rule(
        "password",
        ("pass", "token", "secret", "key"),
        r"(?i)(?:^|[\s\"'\x60(])--?(?:[a-z0-9]+[_-])*"
        rf"(?:{_WHOSE}(?:passw(?:or)?d|passphrase|pass)|secret|token"
        r"|(?:api|access|secret|private)[_-]?key)"
        r"(?:[ \t]+|[\"'],[ \t]*)" + _VALUE,
        values.option,
    ),
    Rule(
        "password", _PASSWORD_HINTS, rf"(?i){_PASSWORDS}{_SUFFIX}{_EQUALS}{_VALUE}", values.password
    ),
    Rule(
        "password",
        ("pass",),
        rf"(?i)(?:[_-]|\b){_WHOSE}pass{_SUFFIX}{_CLOSED}(?:=>|=)[ \t]*{_VALUE}"
        rf"|(?i)(?:[_-]pass{_SUFFIX}{_CLOSED}|[\"']pass[\"'][ \t]*):[ \t]*{_VALUE}",
        values.password,
    ),
    Rule(
        "password",
        ("pwd",),
        rf"(?i)pwd{_SUFFIX}{_EQUALS}{_VALUE}",
        values.working_directory_or_password,
    ),
    Rule("secret", _TOKEN_HINTS, rf"(?i){_TOKENS}{_SUFFIX}{_EQUALS}{_VALUE}", values.token),
    Rule("password", _PASSWORD_HINTS, _on_next_line(_PASSWORDS), values.next_line),
    Rule("secret", _TOKEN_HINTS, _on_next_line(_TOKENS), values.next_line),
    Rule("password", _VALUE_HINTS, _attribute(_PASSWORDS), values.password),
    Rule("secret", _VALUE_HINTS, _attribute(_TOKENS), values.token),
    Rule("password", _PASSWORD_HINTS, _row(_PASSWORDS), values.cell),
    Rule("secret", _TOKEN_HINTS, _row(_TOKENS), values.cell),
    Rule(
        "secret",  # Docker's registries, Redis' environment
        ("auth",),
        r"(?i)\"auth\"[ \t]*:[ \t]*\"([a-z0-9+/=]{8,})\"|\brediscli_auth=([^\s\"']+)",
        values.given,
    ),
)
