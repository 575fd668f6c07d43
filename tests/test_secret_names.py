"""Names of secrets, in every spelling and readable folder; and programs that agree with files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp.policy.judge import ApprovedCommand
from hostup_mcp.policy.preset import Preset
from tests.runner_harness import POLICY

PATHS = Preset("diagnostics").types.paths

FOLDERS = """
/etc/nginx /etc/nginx/ssl /etc/nginx/conf.d /etc/nginx/snippets /etc/nginx/sites-enabled
/etc/nginx/sites-available /etc/nginx/certs/a.example /etc/apache2 /etc/apache2/ssl
/etc/apache2/auth /etc/apache2/conf-enabled /etc/apache2/sites-enabled /etc/apache2/sites-available
/etc/httpd /etc/httpd/conf /etc/httpd/conf.d /etc/php /etc/php/8.2/fpm /etc/php/8.2/fpm/pool.d
/etc/php-fpm.d /etc/systemd /etc/systemd/system /etc/systemd/system/app.service.d
/lib/systemd/system /usr/lib/systemd/system /run/systemd/system /etc/haproxy /etc/caddy
/etc/postfix /etc/logrotate.d /etc/cron.d /etc/cron.daily /etc/cron.hourly /etc/cron.weekly
/etc/cron.monthly /etc/fail2ban /etc/fail2ban/jail.d /etc/apt /etc/apt/sources.list.d
/etc/yum.repos.d /etc/dnf /etc/ssh /etc/ssh/sshd_config.d /etc/rsyslog.d /etc/sysctl.d
/etc/modprobe.d /etc/security /etc/network /etc/ufw /etc/iptables /etc/chrony
/var/log /var/log/nginx /var/log/app /var/log/app/deep/er
""".split()

SECRETS = """
site.key site.pem site.p8 site.pk8 site.pkcs8 site.p12 site.pkcs12 site.pfx site.jks site.jceks
site.kdbx site.ppk site.keytab site.gpg site.priv key server_key server-key privkey privkey1
privkey.pem private_key private-key.pem id_rsa id_dsa id_ecdsa id_ed25519 deploy_rsa htpasswd
htpasswd2 htpasswd.users .htpasswd site.htpasswd passwords passwd.users password.txt
ssl_passwords.txt site.htdigest basic_auth api_key apikey.txt secret secrets.yml client_secret.json
credentials credentials.json aws-credentials token token.txt auth_token app.env .env .env.local
.pgpass .netrc .my.cnf .git-credentials site.ovpn sslkeylog keystore users
""".split()

SUFFIXES = """
~ .bak .old .orig .1 .save .disabled .dpkg-old .dpkg-dist .rpmsave .rpmnew .swp .txt .gz .2.gz
.BAK -old _old .conf.bak .2024-05-01 .tmp
""".split()


def read(path: str) -> bool:
    return PATHS.check_read(path, is_glob=False) is None


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_by_its_name_is_read_nowhere(name: str) -> None:
    # Only what is whole words of these names: users.bak is a name like any other.
    suffixes = [""] if name in {"users", "key"} else ["", *SUFFIXES]
    tried = [name + suffix for suffix in suffixes]
    tried += [name.upper(), name.title(), *(name.swapcase() + suffix for suffix in suffixes[:4])]
    for path in (f"{folder}/{spelled}" for folder in FOLDERS for spelled in tried):
        assert not read(path), path


@given(
    st.sampled_from(FOLDERS), st.sampled_from(SECRETS),
    st.lists(st.sampled_from(SUFFIXES), max_size=3), st.integers(0, 2**40),
    st.sampled_from(["/", "//", "/./"]),
)  # fmt: skip
def test_nor_in_any_spelling_of_it(
    folder: str, name: str, suffixes: list[str], large: int, slash: str
) -> None:
    if name in {"users", "key"}:
        suffixes = []
    path = f"{folder}{slash}{name}{''.join(suffixes)}"
    mixed = folder + "".join(
        sign.upper() if large >> place & 1 else sign
        for place, sign in enumerate(path.removeprefix(folder))
    )
    assert not read(mixed), mixed
    assert not read(f"{mixed}/"), mixed


@pytest.mark.parametrize(
    "dotted", [".git/config", ".svn/entries", ".ssh/x.conf", ".a/b/c.log", ".git/x.service",
               ".git/objects/pack/x.idx", ".hg/hgrc"],
)  # fmt: skip
def test_nothing_in_a_dot_folder_is_read(dotted: str) -> None:
    for folder in FOLDERS:
        assert not read(f"{folder}/{dotted}"), folder


KNOWN = """
/etc/nginx/nginx.conf /etc/nginx/conf.d/default.conf /etc/nginx/snippets/fastcgi-php.conf
/etc/nginx/mime.types /etc/nginx/fastcgi_params /etc/nginx/proxy_params /etc/nginx/koi-utf
/etc/nginx/fastcgi.conf /etc/nginx/sites-available/default /etc/nginx/sites-enabled/shop.example.com
/etc/nginx/modules-enabled/50-mod-http-geoip.conf /etc/nginx/vhosts/a.vhost /etc/nginx/ssl/site.crt
/etc/nginx/ssl/site.cer /etc/nginx/ssl/fullchain.pem /etc/nginx/ssl/a.example/chain.pem
/etc/nginx/ssl/cert.pem /etc/nginx/dhparam.pem /etc/nginx/ssl/options-ssl-nginx.conf
/etc/apache2/apache2.conf /etc/apache2/ports.conf /etc/apache2/mods-enabled/ssl.load
/etc/apache2/mods-enabled/ssl.conf /etc/apache2/conf-enabled/security.conf /etc/apache2/magic
/etc/apache2/sites-enabled/000-default.conf /etc/apache2/sites-available/shop
/etc/httpd/conf/httpd.conf /etc/httpd/conf.d/ssl.conf /etc/httpd/conf.modules.d/00-base.conf
/etc/php/8.2/fpm/php.ini /etc/php/8.2/fpm/php-fpm.conf /etc/php/8.2/fpm/pool.d/www.conf
/etc/php/8.2/fpm/conf.d/10-opcache.ini /etc/php/8.2/mods-available/opcache.ini
/etc/systemd/system/app.service /etc/systemd/system/app@.service /etc/systemd/system/a.timer
/etc/systemd/system/multi-user.target.wants/app.service /lib/systemd/system/ssh.socket
/etc/systemd/system/mariadb.service.d/limits.conf /usr/lib/systemd/system/sshd.service
/etc/systemd/journald.conf /etc/ssh/sshd_config /etc/ssh/sshd_config.d/50-cloud-init.conf
/etc/fstab /etc/passwd /etc/group /etc/crontab /etc/cron.d/php /etc/cron.daily/passwd
/etc/logrotate.d/nginx /etc/logrotate.d/app /etc/fail2ban/jail.local /etc/fail2ban/jail.d/sshd.conf
/etc/apt/sources.list /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/ubuntu.sources
/etc/yum.repos.d/almalinux-baseos.repo /etc/yum.repos.d/rocky.repo /etc/postfix/main.cf
/etc/rsyslog.d/50-default.conf /etc/machine-id /etc/hostname /etc/hosts
/var/log/syslog /var/log/syslog.1 /var/log/syslog.2.gz /var/log/messages /var/log/messages-20240501
/var/log/auth.log /var/log/secure /var/log/kern.log /var/log/dmesg /var/log/dmesg.0 /var/log/maillog
/var/log/cron /var/log/wtmp /var/log/lastlog /var/log/faillog /var/log/boot.log
/var/log/cloud-init.log
/var/log/nginx/access.log /var/log/nginx/error.log.2.gz /var/log/nginx/shop.example.com.access.log
/var/log/apache2/other_vhosts_access.log /var/log/httpd/access_log /var/log/httpd/ssl_error_log
/var/log/mysql/error.log /var/log/mysql/slow-query /var/log/mysqld.log /var/log/php8.2-fpm.log.slow
/var/log/postgresql/postgresql-15-main.log /var/log/apt/history.log /var/log/apt/term.log
/var/log/dpkg.log /var/log/alternatives.log /var/log/unattended-upgrades/unattended-upgrades.log
/var/log/audit/audit.log /var/log/app/current /var/log/app/core.log /var/log/app/token-service.log
/var/log/app/out /var/log/app/app.err /var/log/app/password-reset.log.1
/var/log/letsencrypt/letsencrypt.log
/var/log/gitlab/redis/@400000005e58927932f8744c.s /var/log/private/app/x /var/log/sudo.log
/var/log/ufw.log /var/log/fail2ban.log /var/log/exim4/mainlog /var/log/samba/log.smbd
/var/log/keycloak/keycloak.log /var/log/monkey.log /var/log/sysstat/sa05
""".split()


@pytest.mark.parametrize("path", KNOWN)
def test_what_is_known_to_be_ordinary_is_read(path: str) -> None:
    fault = PATHS.check_read(path, is_glob=False)
    assert fault is None, fault


UNKNOWN = """
/etc/apache2/passwords /etc/apache2/auth/users /etc/apache2/envvars /etc/httpd/conf.d/passwords
/etc/nginx/nginx.conf.bak /etc/nginx/conf.d/token /etc/nginx/conf.d/default.conf.disabled
/etc/nginx/ssl/site.pem /etc/nginx/ssl/bundle.pem /etc/nginx/cloudflare.json /etc/nginx/lua/auth.lua
/etc/nginx/ssl/site.der /etc/nginx/ssl/ticket.bin /etc/nginx/users /etc/httpd/conf/ssl.key/a
/etc/php/8.2/fpm/pool.d/www.conf.dpkg-old /etc/php/8.2/fpm/env /etc/systemd/system/app.env
/etc/systemd/system/app.service.bak /etc/systemd/system/app.service.d/environment
/etc/systemd/network/wg0.netdev /etc/haproxy/haproxy.cfg /etc/haproxy/users.cfg /etc/caddy/Caddyfile
/etc/network/interfaces /etc/network/interfaces.d/wlan0 /etc/yum.conf /etc/dnf/dnf.conf
/etc/yum.repos.d/private.repo /etc/yum.repos.d/company.repo /etc/yum.repos.d/epel-private.repo
/etc/apt/sources.list.d/packagecloud.list /etc/apt/sources.list.d/private.sources
/etc/apt/auth.conf /etc/apt/apt.conf.d/01proxy /etc/rsyslog.d/mysql.conf /etc/rsyslog.d/pgsql.conf
/etc/fail2ban/jail.d/x /etc/fail2ban/action.d/cloudflare.conf /etc/postfix/sasl_passwd
/var/log/installer/syslog /var/log/installer/cdebconf/questions.dat /var/log/Installer/media-info
/var/log/anaconda/anaconda.log /var/log/anaconda.ifcfg.log /var/log/YaST2/y2log /var/log/yast2/y2log
/var/log/sudo-io/00/00/01/log /var/log/sudo_logsrvd/incoming/x /var/log/tlog/tlog.log
/var/log/journal/0123456789abcdef0123456789abcdef/system.journal /run/log/journal/x/system@1.journal
/var/run/log/journal/x/user-1000.journal~ /var/log/app/old.journal /var/log/btmp /var/log/btmp.1
/var/log/btmp-20240501 /var/log/cloud-init-output.log /var/log/cloud-init-output.log.1.gz
/var/log/crash/vmcore /var/log/core /var/log/app/core.1234 /var/log/app/java_pid12.hprof
/var/log/app/dump.sql /var/log/app/db.sqlite3 /var/log/samba/cores/smbd/core.12
/var/log/dist-upgrade/apt-clone_system_state.tar.gz /var/log/nginx/sslkeylog.log
""".split()


@pytest.mark.parametrize("path", UNKNOWN)
def test_what_is_known_to_hold_secrets_or_not_known_is_not_read(path: str) -> None:
    assert not read(path)


@pytest.mark.parametrize(
    "folder", ["/var/log", "/var/log/installer", "/var/log/sudo-io", "/var/log/journal",
               "/etc/nginx", "/etc/nginx/ssl", "/etc/apache2", "/etc/httpd", "/etc/systemd/system",
               "/run/log", "/etc/php", "/etc/yum.repos.d", "/var/log/app/.git", "/VAR/LOG/Journal"],
)  # fmt: skip
def test_no_folder_is_read_as_a_whole_that_holds_them(folder: str) -> None:
    assert PATHS.check_read(folder, is_glob=False, tree=True)


@pytest.mark.parametrize("folder", ["/var/log/nginx", "/var/log/app", "/var/log/mysql"])
def test_a_folder_of_logs_is(folder: str) -> None:
    assert PATHS.check_read(folder, is_glob=False, tree=True) is None


# ------------------------------------------------------------------ programs and files

READABLE_BOTH_WAYS = [
    ("hostnamectl", "/etc/machine-id"),
    ("hostname", "/etc/hostname"),
    ("getent passwd", "/etc/passwd"),
    ("getent group", "/etc/group"),
    ("getent hosts localhost", "/etc/hosts"),
    ("findmnt -s", "/etc/fstab"),
    ("mount", "/proc/mounts"),
    ("nginx -T", "/etc/nginx/nginx.conf"),
    ("nginx -T", "/etc/nginx/conf.d/site.conf"),
    ("nginx -T", "/etc/nginx/sites-enabled/site"),
    ("iptables -S", "/etc/iptables/rules.v4"),
    ("nft list ruleset", "/etc/nftables.conf"),
    ("ps aux", "/proc/1/cmdline"),
    ("last -n 5", "/var/log/wtmp"),
    ("lastlog", "/var/log/lastlog"),
    ("journalctl -n 5", "/var/log/syslog"),
    ("apt-cache policy", "/etc/apt/sources.list"),
]
READABLE_NEITHER_WAY = [
    ("getent shadow", "/etc/shadow"),
    ("lastb", "/var/log/btmp"),
    ("last -f /var/log/btmp", "/var/log/btmp"),
    ("journalctl -o verbose", "/var/log/journal/x/system.journal"),
    ("journalctl --file=/var/log/journal/x/system.journal", "/run/log/journal/x/system.journal"),
    ("coredumpctl info", "/var/lib/systemd/coredump/core.x.0.1.1.1.zst"),
    ("sudoreplay 000001", "/var/log/sudo-io/00/00/01/ttyout"),
    ("printenv", "/proc/1/environ"),
    ("ps auxe", "/proc/1/environ"),
    ("systemctl show-environment", "/etc/environment"),
    ("wg showconf wg0", "/etc/wireguard/wg0.conf"),
    ("nmcli -s connection show x", "/etc/NetworkManager/system-connections/x"),
    ("netplan get", "/etc/netplan/50-cloud-init.yaml"),
    ("postconf -n", "/etc/postfix/sasl_passwd"),
    ("caddy adapt", "/etc/caddy/Caddyfile"),
    ("haproxy -f /etc/haproxy/haproxy.cfg -dC", "/etc/haproxy/haproxy.cfg"),
    ("docker inspect web", "/var/lib/docker/containers/x/config.v2.json"),
    ("docker history web", "/var/lib/docker/image/overlay2/x"),
    ("dnf config-manager --dump", "/etc/dnf/dnf.conf"),
    ("debconf-show x", "/var/cache/debconf/passwords.dat"),
    ("debconf-show x", "/var/log/installer/cdebconf/questions.dat"),
]


@pytest.mark.parametrize(("command", "path"), READABLE_BOTH_WAYS)
def test_what_a_program_prints_may_be_read_too(command: str, path: str) -> None:
    assert isinstance(POLICY.judge(command), ApprovedCommand)
    assert isinstance(POLICY.judge(f"cat {path}"), ApprovedCommand)


READERS = """
cat tac head tail nl wc sort uniq file md5sum sha256sum rev zcat column
""".split()


STARTS = (
    "grep -a x", "grep -r x", "awk '{print}'", "sed p", "cut -c1-9", "fold -w 4", "zgrep x",
    "strings", "last -f",
)  # fmt: skip


@pytest.mark.parametrize(("command", "path"), READABLE_NEITHER_WAY)
def test_what_may_not_be_read_no_program_prints(command: str, path: str) -> None:
    assert not isinstance(POLICY.judge(command), ApprovedCommand)
    readers = [f"{name} {path}" for name in READERS]
    readers += [f"{start} {path}" for start in STARTS]
    readers.append(f"diff {path} /etc/hosts")
    for reader in readers:
        assert not isinstance(POLICY.judge(reader), ApprovedCommand), reader
        assert not isinstance(POLICY.judge(f"{reader} | rev"), ApprovedCommand), reader
