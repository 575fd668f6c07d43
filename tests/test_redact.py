"""Secrets are taken out, each kind by its rule; what one reads in a diagnosis stays."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp.output.clean import clean
from hostup_mcp.output.prepare import prepare
from hostup_mcp.output.redact import redact
from hostup_mcp.output.secret_rules import RULES

any_text = st.text(st.characters(exclude_categories=()))

# Made up, and put together here so that no scanner takes them for real ones.
MIXED = "aB3dE5gH7jK9mN1pQ2sT4vX6zA8cF0iL" * 6
HEX = "0123456789abcdef" * 10
B64 = ("A1b2C3d4" * 8 + "\n") * 4


def pem(kind: str, body: str = B64) -> str:
    return f"-----BEGIN {kind}-----\n{body}-----END {kind}-----\n"


# By rule: a text, and what of it is the secret.
SECRETS: dict[str, list[tuple[str, str]]] = {
    "private-key": [
        (pem("RSA PRIVATE KEY"), "A1b2C3d4"),
        (pem("PRIVATE KEY"), "A1b2C3d4"),
        (pem("EC PRIVATE KEY"), "A1b2C3d4"),
        (pem("OPENSSH PRIVATE KEY"), "A1b2C3d4"),
        (pem("ENCRYPTED PRIVATE KEY"), "A1b2C3d4"),
        (pem("OpenVPN Static key V1"), "A1b2C3d4"),
        (pem("PGP PRIVATE KEY BLOCK", f"Version: x\n\n{B64}=a1b2\n"), "A1b2C3d4"),
        (pem("RSA PRIVATE KEY", f"Proc-Type: 4,ENCRYPTED\nDEK-Info: x,1\n\n{B64}"), "A1b2C3d4"),
        (pem("PRIVATE KEY").replace("\n", "\\n"), "A1b2C3d4"),
        (pem("PRIVATE KEY").replace("\n", "\n12:  "), "A1b2C3d4"),
        (pem("PRIVATE KEY").replace("\n", "\r\n"), "A1b2C3d4"),
        (pem("RSA PRIVATE KEY").partition("-----END")[0], "A1b2C3d4"),
        (pem("RSA PRIVATE KEY").partition("-----END")[0][:-70], "A1b2C3d4"),
        (pem("RSA PRIVATE KEY").partition("-----END")[0].replace("\n", "\\n"), "A1b2C3d4"),
        (pem("RSA PRIVATE KEY")[50:], "A1b2C3d4"),
        ("b3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n" + B64, "A1b2C3d4"),
        ("client-key-data: " + base64.b64encode(pem("RSA PRIVATE KEY").encode()).decode(), "QTFi"),
        ("client-key-data: " + base64.b64encode(pem("PRIVATE KEY").encode()).decode(), "MWIy"),
        ("client-key-data: " + base64.b64encode(pem("EC PRIVATE KEY").encode()).decode(), "MWIy"),
        (f'{{"kty":"EC","d":"{MIXED[:43]}"}}', MIXED[:43]),
    ],
    "putty-key": [(f"Private-Lines: 4\n{B64}Private-MAC: 12\n", "A1b2C3d4")],
    "age-key": [("AGE-SECRET-" + f"KEY-1{'QPZRY9X8' * 7}", "QPZRY9X8")],
    "authorization": [
        ("Authorization: Bearer abcdefgh12", "abcdefgh12"),
        ("authorization: Basic dXNlcjpwdw==", "dXNlcjpwdw"),
        ('"Authorization": "token abc123"', "abc123"),
        ("> Authorization: Digest username=x, response=6629", "6629"),
        (f"curl -H 'bearer {MIXED[:20]}'", MIXED[:20]),
    ],
    "cookie": [
        ("Set-Cookie: session=abcdef1234; Secure; HttpOnly", "abcdef1234"),
        ("> Cookie: session=abcdef1234; a=b", "abcdef1234"),
    ],
    "jwt": [(f"got eyJ{MIXED[:20]}.eyJ{MIXED[:30]}.{MIXED[:40]} ok", MIXED[:20])],
    "aws-key": [("id AKIA" + "ABCDEFGH12345678 in", "ABCDEFGH12345678")],
    "aws-signature": [(f"?X-Amz-Signature={HEX[:64]}&x=1", HEX[:64])],
    "github-token": [
        (f"ghp_{MIXED[:36]}", MIXED[:36]),
        (f"x_gho_{MIXED[:36]}", MIXED[:36]),
        (f"github_pat_{MIXED[:22]}_{MIXED[:59]}", MIXED[:22]),
    ],
    "gitlab-token": [(f"glpat-{MIXED[:20]}", MIXED[:20])],
    "slack-token": [
        (f"xoxb-123456789012-{MIXED[:24]}", MIXED[:24]),
        (f"xapp-1-{MIXED[:30]}", MIXED[:30]),
        (f"https://hooks.slack.com/services/T0/B0/{MIXED[:24]}", MIXED[:24]),
    ],
    "discord-webhook": [(f"https://discord.com/api/webhooks/123/{MIXED[:60]}", MIXED[:60])],
    "stripe-key": [(f"sk_live_{MIXED[:24]}", MIXED[:24]), (f"rk_live_{MIXED[:24]}", MIXED[:24])],
    "google-key": [(f"AIza{MIXED[:35]}", MIXED[:35]), (f"ya29.{MIXED[:40]}", MIXED[:40])],
    "anthropic-key": [(f"sk-ant-api03-{MIXED[:90]}", MIXED[:90])],
    "openai-key": [(f"sk-{MIXED[:48]}", MIXED[:48]), (f"sk-proj-{MIXED[:48]}", MIXED[:48])],
    "npm-token": [(f"npm_{MIXED[:36]}", MIXED[:36])],
    "pypi-token": [(f"pypi-{MIXED[:80]}", MIXED[:80])],
    "huggingface-token": [(f"hf_{MIXED[:34]}", MIXED[:34])],
    "telegram-token": [
        (f"https://api.telegram.org/bot123456789:AA{MIXED[:33]}/getMe", MIXED[:33]),
    ],
    "sendgrid-key": [(f"SG.{MIXED[:22]}.{MIXED[:43]}", MIXED[:43])],
    "twilio-key": [(f"SK{HEX[:32]}", HEX[:32])],
    "digitalocean-token": [(f"dop_v1_{HEX[:64]}", HEX[:64])],
    "azure-key": [
        (f"AccountName=x;AccountKey={MIXED[:86]}==;Endpoint=y", MIXED[:86]),
        (f"https://x.blob.core.windows.net/a?sv=1&sig={MIXED[:40]}%3D", MIXED[:40]),
        (f"abc8Q~{MIXED[:34]}", MIXED[:34]),
    ],
    "service-token": [
        (f"tskey-auth-{MIXED[:20]}", MIXED[:20]),
        (f"hvs.{MIXED[:90]}", MIXED[:90]),
        (f"dckr_pat_{MIXED[:27]}", MIXED[:27]),
        (f"glsa_{MIXED[:32]}", MIXED[:32]),
        (f"shpat_{HEX[:32]}", HEX[:32]),
        (f"dapi{HEX[:32]}", HEX[:32]),
        (f"ATATT3{MIXED[:60]}", MIXED[:60]),
        (f"NRAK-{'ABCDEFGHI' * 3}", "ABCDEFGHI"),
        (f"lin_api_{MIXED[:40]}", MIXED[:40]),
        (f"sntrys_{MIXED[:60]}", MIXED[:60]),
        (f"gsk_{MIXED[:52]}", MIXED[:52]),
        (f"key-{HEX[:32]}", HEX[:32]),
    ],
    "url-password": [
        ("postgres://app:hunter2@db:5432/x", "hunter2"),
        ("redis://:hunter2@db/0", "hunter2"),
        ("https://u:p@ss2word@example.com/", "p@ss2word"),
        ("postgres://app:hun/ter22@db:5432/x", "hun/ter22"),
        ("amqp://app:a1/b2/c3@[::1]:5672", "a1/b2/c3"),
        (f"origin https://{MIXED[:24]}@git.example.com/a/b (fetch)", MIXED[:24]),
        ("app:hunter2@tcp(127.0.0.1:3306)/x", "hunter2"),
    ],
    "password-hash": [
        (f"root:$y$j9T${MIXED[:22]}${MIXED[:43]}:19000:0:99999:7:::", MIXED[:22]),
        (f"root:$6$rounds=5000$salt${MIXED[:86]}:19000::", MIXED[:86]),
        (f"root:$5$salt${MIXED[:43]}:", MIXED[:43]),
        (f"root:$1$salt${MIXED[:22]}:", MIXED[:22]),
        (f"user:$2b$12${MIXED[:53]}", MIXED[:53]),
        (f"user:$apr1$salt${MIXED[:22]}", MIXED[:22]),
        (f"$argon2id$v=19$m=65536,t=3,p=4${MIXED[:22]}", MIXED[:22]),
        (f"$P$B{MIXED[:30]}", MIXED[:30]),
        (f"userPassword {{SSHA}}{MIXED[:32]}", MIXED[:32]),
        (f"SCRAM-SHA-256$4096:{MIXED[:24]}$x:y", MIXED[:24]),
        (f"root | *{'0123456789ABCDEF0123' * 2} |", "0123456789ABCDEF0123"),
    ],
    "kernel-key": [
        (f"net.core.netdev_rss_key = {'5a:c0:' * 25}7f:00", "5a:c0:5a"),
        ("net/core/netdev_rss_key=52:cc:46:7c:3e", "52:cc:46:7c:3e"),
        ("net.ipv4.tcp_fastopen_key = 8fa2c1d0-12345678-9abcdef0-deadbeef", "9abcdef0"),
        ("/proc/sys/net/ipv4/tcp_fastopen_key:8fa2c1d0-1-2-3,8fa2-1-2-4d", "8fa2"),
        ("RSS hash key:\n52:cc:46:7c:3e:00:11:22:aa:bb", "52:cc"),
    ],
    "snmp-community": [
        ("rocommunity hunter22 10.0.0.0/8", "hunter22"),
        ("rwcommunity6 hunter default", "hunter"),
        ("com2sec readonly default hunter22", "hunter22"),
        ("com2sec -Cn ctx readonly default hunter22", "hunter22"),
        ("snmp-server community hunter22 RO", "hunter22"),
        ("snmpwalk -v2c -c hunter22 10.0.0.1", "hunter22"),
    ],
    "password": [
        ("DB_PASSWORD=hunter22", "hunter22"),
        ("password:\n  hunter22", "hunter22"),
        ('  "password":\r\n    "hunter 22"', "hunter 22"),
        ("password: |\n  hunter 22", "hunter 22"),
        ("  password: >-\n    hunter22\n    hunter23\n  x: y", "hunter23"),
        ("db:5432:app:me:hunter22", "hunter22"),
        ("*:*:*:postgres:hun\\:ter22", "ter22"),
        ("2:127.0.0.1:5433:*:me:hunter22", "hunter22"),
        ("rootpw hunter22", "hunter22"),
        ("rootpw --plaintext hunter22", "hunter22"),
        ("docker login -u me -p hunter22 registry", "hunter22"),
        ("sudo podman login -p=hunter22", "hunter22"),
        ("install --dbpass hunter22 --dbuser x", "hunter22"),
        ("install --dbpass=hunter22", "hunter22"),
        ("keytool -storepass hunter22", "hunter22"),
        ('<property name="db.password" value="hunter22"/>', "hunter22"),
        ("| password | hunter22 |", "hunter22"),
        ("| 1 | smtp_password | hunter22! |", "hunter22!"),
        ("export PGPASSWORD='hunter 22'", "hunter 22"),
        ('password = "hun\\"ter22"', "ter22"),
        ("  password: hunter22  # comment", "hunter22"),
        ('{"password": "hunter22", "user": "x"}', "hunter22"),
        ('{"password":"a,b:c}d","user":"x"}', "a,b:c}d"),
        (r'"{\"password\": \"hunter22\"}"', "hunter22"),
        ("{password: hunter22, user: x}", "hunter22"),
        ("'password' => 'hunter22',", "hunter22"),
        ("$cfg['password'] = 'hunter22';", "hunter22"),
        ("define( 'DB_PASSWORD', 'hunter22' );", "hunter22"),
        (f"define('AUTH_KEY', '{MIXED[:60]} &;x');", MIXED[:60]),
        ("ps: backup --password=hunter22 --user x", "hunter22"),
        ("backup --password hunter22 --user x", "hunter22"),
        ("backup --token 'hunter22'", "hunter22"),
        ("backup --access_token hunter22 --user x", "hunter22"),
        ("backup --api_key hunter22 --db_password hunter23", "hunter23"),
        ("<passwd>hunter22</passwd>", "hunter22"),
        ("<api_key>hunter22</api_key>", "hunter22"),
        ("<x:private-key>hunter22</x:private-key>", "hunter22"),
        ('["--password", "hunter22"]', "hunter22"),
        ("mysql -u root -phunter22 db", "hunter22"),
        ("mysqldump --opt -phunter22", "hunter22"),
        ("sshpass -p hunter22 ssh x", "hunter22"),
        ("redis-cli -h db -a hunter22 ping", "hunter22"),
        ("curl -s -u admin:hunter22 https://x", "hunter22"),
        ("openssl rsa -passin pass:hunter22", "hunter22"),
        ("requirepass hunter22", "hunter22"),
        ("6:masterauth hunter22", "hunter22"),
        ("user default on ~* >hunter22 +@all", "hunter22"),
        ("machine x login me password hunter22", "hunter22"),
        ("CREATE USER x IDENTIFIED BY 'hunter22'", "hunter22"),
        ("ALTER ROLE x PASSWORD 'hunter22'", "hunter22"),
        ("<password>hunter22</password>", "hunter22"),
        ("Server=x;Password=hunter22;Encrypt=yes", "hunter22"),
        ("GET /?user=x&password=hunter22&a=b HTTP/1.1", "hunter22"),
        ("SMTP_PASS=hunter22", "hunter22"),
        ("smtp_pass: hunter22", "hunter22"),
        ("MYSQL_PWD=hunter22", "hunter22"),
        ("wpa_passphrase=hunter22", "hunter22"),
        ("Generated password: hunterhunter", "hunterhunter"),
        ("password=ab'cd22", "cd22"),
        ("password=123456", "123456"),
        ("lösenord: hunter22", "hunter22"),
        ("DB_PASSWORD_PROD=hunter22", "hunter22"),
        ("password=" + "x1" * 5000, "x1"),
    ],
    "secret": [
        ('<add key="ApiKey" value="abcdef123456"/>', "abcdef123456"),
        ("<param name='client_secret'  value='abcdef123456'>", "abcdef123456"),
        ("  api_key:\n    abcdef123456", "abcdef123456"),
        ("| api_token | abcdef123456 |", "abcdef123456"),
        ("SECRET_KEY=abcdef123456", "abcdef123456"),
        ("APP_KEY=base64:abcdef123456=", "abcdef123456"),
        ("aws_secret_access_key = abc/def+123456", "abc/def+123456"),
        ("client_secret: abcdef123456", "abcdef123456"),
        ('"api-key": "abcdef123456"', "abcdef123456"),
        ("X-Api-Key: abcdef123456", "abcdef123456"),
        ("apikey=abcdef123456", "abcdef123456"),
        ("access_token=abcdef123456&x=1", "abcdef123456"),
        ("//registry.npmjs.org/:_authToken=abcdef123456", "abcdef123456"),
        ("PrivateKey = abcdefghijklmnop123456=", "abcdefghijklmnop123456"),
        ("PresharedKey = abcdefghijklmnop123456=", "abcdefghijklmnop123456"),
        ('psk="hunter 22"', "hunter 22"),
        ("token: 0f8fad5b-d9cb-469f-a165-70867728950e", "0f8fad5b"),
        ('"auth": "dXNlcjpodW50ZXIyMg=="', "dXNlcjpodW50ZXIyMg"),
        ("REDISCLI_AUTH=hunter22", "hunter22"),
        ('secrets["token"] = "abcdef123456"', "abcdef123456"),
    ],
}

ORDINARY = r"""
password:
Password:
token=
secret: <redacted>
password: ********
password = ${DB_PASSWORD}
password: "{{ vault_password }}"
PASSWORD=$(cat /run/secrets/db)
PasswordAuthentication no
PermitRootLogin prohibit-password
password	[success=1 default=ignore]	pam_unix.so obscure use_authtok try_first_pass yescrypt
passwd:         files systemd
max_password_age = 90
password_expires=30
Last password change					: Jan 01, 2024
sshd[1]: Failed password for root from 1.2.3.4 port 22 ssh2
sshd[1]: Accepted publickey for root from 1.2.3.4 port 22 ssh2: RSA SHA256:m0Kx6kq1bVqG8n2sZ0
sshd[1]: pam_unix(sshd:auth): authentication failure; logname= uid=0 tty=ssh ruser= rhost=1.2.3.4
sudo:   deploy : TTY=pts/0 ; PWD=/home/deploy ; USER=root ; COMMAND=/bin/ls
PWD=/root
OLDPWD=/
ERROR 1045 (28000): Access denied for user 'root'@'localhost' (using password: YES)
error: invalid token: unexpected character at line 3
syntax error near unexpected token `('
Unexpected token: }
CSRF token: mismatch
keys: 3
tokens: 512
token: 17
auth: ok
auth = plain
root:x:0:0:root:/root:/bin/bash
sshd:x:105:65534::/run/sshd:/usr/sbin/nologin
uuid 0f8fad5b-d9cb-469f-a165-70867728950e
commit 5f3c1e2d4b6a79808f9e0d1c2b3a495867768594
d41d8cd98f00b204e9800998ecf8427e  /etc/hosts
iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==
ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Zb2x1c2VybWFkZXVwa2V5aGVyZTEyMzQ1 root@web1
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
proxy_set_header X-Real-IP $remote_addr;
ssl_certificate_key /etc/letsencrypt/live/example.com/privkey.pem;
password_file: /run/secrets/db
secret: /run/secrets/db/password
-----BEGIN CERTIFICATE-----
/etc/ssl/private/a.pem:-----BEGIN PRIVATE KEY-----
/etc/ssl/private/b.pem:-----BEGIN PRIVATE KEY-----
https://example.com:8443/a?b=c@d
http://[::1]:80/@x
git@github.com:owner/name.git
root      1234  0.0  0.1  12345  678 ?  Ss  10:00  0:00 /usr/sbin/mysqld --port=3306
mysql -u root -p
  --password PASSWORD   the password to use
  --token string        Token to send
bearer authentication is required
WWW-Authenticate: Bearer realm="x"
pubkeyacceptedalgorithms ssh-rsa,sk-ssh-ed25519-cert-v01@openssh.com,sk-ecdsa-sha2-nistp256
disk-usage-of-a-very-long-name-2 sk-learn
/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_drive-scsi0
bypass=1
pass: 10 fail: 0
monkey=banana
if token == expected:
wg0: private key: (hidden)
| id | password | email |
| Password | Description |
| password | varchar(255) | NO |  | NULL |  |
| default_password_lifetime | 0 |
| default_password | ON |
new_user|new_token|'x1'
echo $password | md5sum
app.py:12:foo:bar:baz
main.go:5432:17: undefined: x
deploy:100000:65536
2001:db8:*:*:*:*:*:1
127.0.0.1:5432:app
user:x:1000:1000:Some One:/home/user:/bin/bash
https://deploy@example.com/x
https://a-rather-long-user-name@example.com
http://example.com:8080/a@b
http://example.com:8080/~user/a:b@c
docker login registry.example.com
docker login -p is insecure, use --password-stdin
docker run -p 8080:80 app
<add key="Timeout" value="30"/>
<param name="max_token" value="512"/>
<property name="password" value="${DB_PASSWORD}"/>
rootpw is not set
rootpw --lock
SNMP community strings are not set
"""


@pytest.mark.parametrize(
    ("rule", "text", "secret"),
    [(rule, *example) for rule, examples in SECRETS.items() for example in examples],
)
def test_each_rule_takes_its_secrets_out(rule: str, text: str, secret: str) -> None:
    assert secret in text
    for around in ("{}", "before\n{}\nafter\n", "Jan 1 10:00:00 web app[1]: {}"):
        found = redact(around.format(text) if around != "{}" else text)
        assert secret not in found.text
        assert f"[redacted: {rule}]" in found.text
        assert found.counts[rule] >= 1
        again = redact(found.text)
        assert again.text == found.text


def test_every_rule_has_its_examples() -> None:
    assert {rule.name for rule in RULES} == SECRETS.keys()
    for number, rule in enumerate(RULES):
        others = [text for examples in SECRETS.values() for text, _ in examples]
        hints = [hint.lower() for hint in rule.hints]
        assert any(hint in text.lower() for text in others for hint in hints), number


@pytest.mark.parametrize("line", ORDINARY.strip().splitlines())
def test_what_one_reads_in_a_diagnosis_stays(line: str) -> None:
    for text in (line, f"{line}\n", f"before\n{line}\nafter\n", f"before {line}"):
        assert redact(text).text == text
    assert redact(ORDINARY).counts == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("DB_PASSWORD=hunter22 x", "DB_PASSWORD=[redacted: password] x"),
        ("postgres://app:pw1@db:5432/x", "postgres://app:[redacted: url-password]@db:5432/x"),
        ('{"password": "pw1", "user": "x"}', '{"password": "[redacted: password]", "user": "x"}'),
        ("?token=abc123&user=x HTTP/1.1", "?token=[redacted: secret]&user=x HTTP/1.1"),
        ("Authorization: Bearer abcd1234", "Authorization: Bearer [redacted: authorization]"),
        (
            pem("PRIVATE KEY"),
            "-----BEGIN PRIVATE KEY-----[redacted: private-key]-----END PRIVATE KEY-----\n",
        ),
        (
            pem("PRIVATE KEY").partition("-----END")[0] + "next line\n",
            "-----BEGIN PRIVATE KEY-----[redacted: private-key]\nnext line\n",
        ),
    ],
)
def test_what_is_around_a_secret_is_kept(text: str, shown: str) -> None:
    assert redact(text).text == shown


def test_a_password_of_words_is_the_rest_of_a_line_of_its_own() -> None:
    assert (
        redact("  password: correct horse  # x\n").text == "  password: [redacted: password]  # x\n"
    )
    assert redact("db.password = correct horse").text == "db.password = [redacted: password]"
    # Elsewhere words after a colon are a message.
    assert redact("app: bad password: correct it").counts == {}


@pytest.mark.parametrize(
    "text",
    [
        "password:\n  min_length: 8\n  max: 20\n",
        "password:\n  - length\n",
        "password:\n  # none is set\n",
        "secret:\n  secretName: tls-1\n",
        "token:\n  {a: b}\n",
        "  --password:\n      the new password\n",
        "  password:\n  hunter22x\n",
        "Password:\nLast login: 1\n",
        "password: |\n  {{ vault }}\n",
        "    if self.password:\n        return x.validate(self)\n",
        "class Token:\n    pass_on\n",
        "token:\n  " + "some words " * 100 + "\n",
    ],
)
def test_what_stands_below_a_name_may_be_no_secret(text: str) -> None:
    assert redact(text).text == text


def test_a_missing_end_does_not_take_the_rest() -> None:
    rest = "".join(f"line {number} of a log\n" for number in range(100))
    shown = redact(f"-----BEGIN RSA PRIVATE KEY-----\n{B64}{rest}").text
    assert shown.endswith(rest)
    assert "A1b2" not in shown


keys = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=8).filter(
    lambda key: key not in "[redacted: hostup-key]"
)


@given(any_text, keys, any_text)
def test_the_own_key_is_found_wherever_it_stands(before: str, key: str, after: str) -> None:
    raw = key.encode()
    forms = [
        key,
        urllib.parse.quote(key, safe=""),
        "".join(f"%{byte:02x}" for byte in raw),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        raw.hex(),
        raw.hex().upper(),
        raw.hex(" "),
        raw.hex(":"),
        raw.hex(" ", 2),
        key.replace("_", r"\_"),
    ]
    for form in forms:
        found = redact(clean(before).text + form + clean(after).text, key)
        assert form not in found.text
        assert found.counts["hostup-key"] >= 1


@given(keys, st.sampled_from(["\n", "\r\n", "\\\n", "\\\n    "]), st.data())
def test_the_own_key_is_found_over_a_line_end(key: str, line_end: str, data: st.DataObject) -> None:
    raw = key.encode()
    for form in (key, urllib.parse.quote(key, safe=""), base64.b64encode(raw).decode(), raw.hex()):
        at = data.draw(st.integers(1, len(form) - 1))
        found = redact(f"a {form[:at]}{line_end}{form[at:]} b", key)
        assert found.counts["hostup-key"] >= 1
        assert form[:at] not in found.text or form[at:] not in found.text
    wrapped = line_end.join(key)
    assert redact(f"a\n{wrapped}\nb", key).text == "a\n[redacted: hostup-key]\nb"


@given(st.text("abc:@", max_size=9), keys)
def test_the_own_key_is_found_inside_basic_credentials(user: str, key: str) -> None:
    pair = base64.b64encode(f"{user}{key}:x".encode()).decode()
    assert redact(f"x {pair} y", key).counts["hostup-key"] >= 1


def test_a_key_too_short_to_be_one_is_not_looked_for() -> None:
    assert redact("abc abc", "abc").text == "abc abc"
    assert redact("abc", "").text == "abc"


inserted = st.sampled_from(
    ["\x1b[0m", "\x1b]0;t\x07", "\u200b", "\u202e", "\x00", "\x00" * 9, "\x07", "\x9b1m", "\ufeff"]
)


@given(st.sampled_from(["hk_own_key_0123456789", f"ghp_{MIXED[:36]}"]), st.data())
def test_a_secret_cannot_hide_behind_what_is_cleaned(secret: str, data: st.DataObject) -> None:
    at = data.draw(st.lists(st.integers(0, len(secret)), min_size=1, max_size=6))
    text = secret
    for place in sorted(at, reverse=True):
        text = text[:place] + data.draw(inserted) + text[place:]
    prepared = prepare(f"see {text} here", "hk_own_key_0123456789")
    assert prepared.text.count("[redacted: ") == 1
    assert "0123456789" not in prepared.text
    assert MIXED[:8] not in prepared.text


@given(any_text, st.one_of(st.just(""), any_text))
def test_any_text_is_prepared(text: str, secret: str) -> None:
    prepared = prepare(text, secret)
    assert clean(prepared.text).text is prepared.text
    json.dumps(dict(prepared.counts))
    prepared.text.encode()


def test_a_stream_is_repaired_cleaned_and_redacted() -> None:
    twice = "åäö \x1b[1mpassword\x1b[0m=hunter22\n".encode().decode("latin-1")
    prepared = prepare(twice, "")
    assert prepared.repaired
    assert prepared.text == "åäö password=[redacted: password]\n"
    assert prepared.counts == {"escapes": 2, "redacted:password": 1}
    plain = prepare("plain\n", "")
    assert (plain.text, plain.counts, plain.repaired) == ("plain\n", {}, False)
