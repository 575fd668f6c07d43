"""Files of the kernel's that act when they are read, opened or entered: none is let through."""

from __future__ import annotations

import pytest

from hostup_mcp.policy.judge import ApprovedCommand, Policy, Refusal
from hostup_mcp.policy.mismatch import Mismatch
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.policy.preset import Preset, preset_data
from hostup_mcp.policy.values.path_patterns import PathPattern
from hostup_mcp.suggestions.nearest import nearest

TYPES = Preset("diagnostics").types
PATHS = TYPES.paths
KERNEL = [text for text in PATHS.readable if text.startswith(("/proc/", "/sys/"))]

ACTING = """
/proc/kmsg /proc/kcore /proc/kpagecount /proc/1/pagemap /proc/1/mem /proc/1/environ /proc/1/stack
/proc/sysrq-trigger /proc/bus/pci/00/00.0 /proc/acpi/event /proc/fs/nfsd/exports
/proc/sys/fs/binfmt_misc/status /proc/sys/fs/binfmt_misc/register /proc/sys/vm/stat_refresh
/proc/sys/vm/drop_caches /proc/sys/vm/compact_memory /proc/sys/net/ipv4/route/flush
/proc/sys/net/core/netdev_rss_key /proc/sys/net/ipv6/conf/all/stable_secret
/sys/class/zram-control/hot_add /sys/class/zram-control/hot_remove
/sys/devices/virtual/zram-control/hot_add /sys/power/wakeup_count
/sys/kernel/security/apparmor/revision /sys/kernel/tracing/trace_pipe
/sys/kernel/debug/tracing/trace_pipe /sys/kernel/slab/kmalloc-8/validate
/sys/class/net/eth0/device/config /sys/class/net/eth0/device/rom /sys/class/net/eth0/device/vpd
/sys/class/net/eth0/device/resource0 /sys/class/net/eth0/uevent /sys/class/firmware/x/loading
/sys/class/drm/card0-HDMI-A-1/status /sys/bus/pci/rescan /sys/bus/pci/devices/0/config
/sys/class/scsi_host/host0/scan /sys/block/sda/device/rescan /sys/block/sda/device/delete
/sys/block/sda/device/vpd_pg80 /sys/fs/pstore/dmesg-0 /sys/fs/fuse/connections/40/waiting
/sys/firmware/acpi/tables/DSDT /sys/kernel/debug/sched/debug /sys/fs/bpf/x /sys/kernel/config/x
""".split()


def code(policy: Policy, command: str) -> str:
    decided = policy.judge(command)
    return decided.code if isinstance(decided, Refusal) else "allow"


STRICT = Policies(PolicyData(preset="diagnostics-strict")).default
USUAL = Policies(PolicyData(preset="diagnostics")).default


@pytest.mark.parametrize("path", ACTING)
def test_no_file_that_acts_can_be_read(path: str) -> None:
    assert PATHS.check_read(path, is_glob=False)
    folder, _, name = path.rpartition("/")
    for glob in (f"{folder}/*", f"{folder}/?{name[1:]}", f"{path[:5]}*/{path[6:]}"):
        assert PATHS.check_read(glob, is_glob=True), glob


@pytest.mark.parametrize("path", [p for p in ACTING if "zram-control" in p or "trace_pipe" in p])
def test_a_setting_of_the_operators_does_not_let_them_through(path: str) -> None:
    own = Preset("diagnostics", ["/**", "/sys/**", path]).types.paths
    fault = own.check_read(path, is_glob=False)
    assert fault
    assert fault.code in {"path_acts", "path_protected"}


def test_lists_of_the_kernels_files_are_lists() -> None:
    assert len(KERNEL) >= 500
    assert not [text for text in KERNEL if text.endswith("**")]
    # A name that stands for any file of a folder is one whose folder holds only harmless files.
    folders = {text.rpartition("/")[0] for text in KERNEL if text.endswith("/*")}
    assert not folders & {"/proc", "/proc/*", "/proc/sys/vm", "/proc/sys/fs", "/proc/sys/kernel"}
    assert not folders & {"/sys/class/net/*", "/sys/block/*", "/sys/devices", "/sys/kernel"}
    expressions = [PathPattern(text).expression for text in KERNEL]
    for path in ACTING:
        covering = [one.pattern for one in expressions if one.fullmatch(path)]
        # Only a key that an earlier block keeps in may stand in a folder that is listed.
        assert not covering or path.endswith(("_key", "_secret")), (path, covering)


# ------------------------------------------------------------------ devices

BLOCK = """
/dev/sda /dev/sda1 /dev/sdaa15 /dev/vda1 /dev/xvda1 /dev/nvme0n1 /dev/nvme0n1p3 /dev/mmcblk0p1
/dev/md0 /dev/md127p1 /dev/md/root /dev/dm-3 /dev/mapper/vg0-lv0 /dev/mapper/luks /dev/mapper/c
/dev/mapper/control2 /dev/mapper/controx /dev/loop3 /dev/zram0 /dev/nbd0p1 /dev/disk/by-uuid/a-b
/dev/disk/by-id/wwn-0x5000 /dev/block/8:1 /dev/vg0/root /dev/ubuntu-vg/ubuntu-lv /dev/centos/root
""".split()
OTHER = """
/dev/watchdog /dev/watchdog0 /dev/st0 /dev/nst0 /dev/ppp /dev/net/tun /dev/sg0 /dev/sr0 /dev/sda/x
/dev/mapper/control /dev/loop-control /dev/btrfs-control /dev/nvme0 /dev/nvme-fabrics
/dev/mmcblk0rpmb /dev/ptmx /dev/tty /dev/ttyS0 /dev/snd/seq /dev/shm/fifo /dev/mqueue/q /dev/fd/0
/dev/char/10:130 /dev/vga_arbiter /dev/vhost-vdpa-0 /dev/disk /dev/md /dev/mapper /dev/sd /dev/vg0
/dev/../dev/sda /dev/vg0/../watchdog /dev/mapper/../watchdog /dev/md/../watchdog /dev/stdin
/dev/input/event0 /dev/vfio/vfio /dev/disk/by-id/ata-QEMU_DVD-ROM_QM00003 /dev/cdrom
""".split()


@pytest.mark.parametrize("path", BLOCK)
def test_block_devices_go_by_their_names(path: str) -> None:
    assert TYPES.check("device", path) is None
    assert TYPES.check("disk_or_opened", path) is None


@pytest.mark.parametrize("path", OTHER)
def test_no_other_device_does(path: str) -> None:
    assert TYPES.check("device", path)
    assert TYPES.check("disk_or_opened", path) or path in {"/dev/disk", "/dev/sd"}


def test_every_program_that_opens_what_it_is_given_takes_block_devices_only() -> None:
    commands = preset_data().command
    for name, shapes in (("mdadm", "@device"), ("smartctl", "@drive")):
        slots = {w for shape in getattr(commands[name], "shapes", ()) for w in shape if "@" in w}
        assert slots == {shapes}
    assert getattr(commands["df"], "operands", "") == "disk_or_opened"
    assert getattr(commands["lsblk"], "operands", "") == "device"


@pytest.mark.parametrize(
    ("path", "is_glob", "fits"),
    [
        ("/dev/sd*", True, True),
        ("/dev/nvme*n*", True, True),
        ("/dev/nvme*", True, False),
        ("/dev/loop*", True, False),
        ("/dev/mapper/*", True, False),
        ("/dev/*", True, False),
        ("/*", True, True),
        ("/*/*", True, False),
        ("/mnt/*", True, True),
        ("/", False, True),
        (".", False, True),
        ("./dev/watchdog", False, False),
        ("/dev", False, True),
        ("/dev/pts", False, True),
        ("/dev/pts/0", False, False),
        ("/run", False, True),
        ("/run/x", False, False),
        ("/run/x/", False, True),
        ("/run/x/.", False, True),
        ("/home/bob", False, True),
        ("/home/bob/x", False, False),
        ("/run/initctl", False, False),
        ("/run/user/1000", False, True),
        ("/proc/1/root/dev/watchdog/", False, False),
        ("/proc/sys/fs/binfmt_misc/", False, False),
        ("/srv/app/data", False, True),
    ],
)
def test_what_may_be_opened(path: str, is_glob: bool, fits: bool) -> None:
    assert (TYPES.check("disk_or_opened", path, is_glob=is_glob) is None) is fits


# ------------------------------------------------------------------ walks


def walk(path: str, depth: int | None = None) -> Mismatch | None:
    return PATHS.check_walk(path, is_glob="*" in path or "?" in path, depth=depth)


@pytest.mark.parametrize("place", [p.text for p in PATHS.automounts])
def test_a_walk_stops_before_a_place_that_mounts(place: str) -> None:
    parts = place.split("/")[1:]
    for length in range(1, len(parts)):
        above = "/" + "/".join(parts[:length])
        assert walk(above)
        assert walk(f"{above}/")
        assert walk(f"{above[:-1]}?")
        # Its own name is listed without entering it; one level more enters it.
        assert walk(above, len(parts) - length) is None
        assert walk(above, len(parts) - length + 1)
        assert PATHS.check_metadata(above, is_glob=False) is None
    assert walk("/") is walk("/*") is None
    assert PATHS.check_metadata(place, is_glob=False)
    assert PATHS.check_metadata(f"{place}/x", is_glob=False)


@pytest.mark.parametrize(
    ("command", "usual", "strict"),
    [
        ("find / -name x", "allow", "path_acts"),
        ("find / -xdev -name x", "allow", "allow"),
        ("find / -mount -name x", "allow", "allow"),
        ("find -name x", "allow", "path_acts"),
        ("find / -maxdepth 4", "allow", "allow"),
        ("find / -maxdepth 2 -maxdepth 5", "allow", "path_acts"),
        ("find /proc -maxdepth 2 -maxdepth 5", "path_acts", "path_acts"),
        ("find /proc -name -xdev", "value_refused", "value_refused"),
        ("find /proc -xdev", "allow", "allow"),
        ("du -sh /*", "allow", "path_acts"),
        ("du", "allow", "path_acts"),
        ("du -x", "allow", "allow"),
        ("du --one-file-system /proc", "allow", "allow"),
        ("tree -L 2 /", "allow", "allow"),
        ("tree -L 9 /proc", "path_acts", "path_acts"),
        ("ls -R", "allow", "path_acts"),
        ("ls -lR /proc", "path_acts", "path_acts"),
        ("ls -l /proc", "allow", "allow"),
        ("ls /proc/1/root/etc", "path_climbs", "path_climbs"),
        ("ls -R /proc/1/cwd", "path_climbs", "path_climbs"),
        ("ls -l /proc/1/cwd", "allow", "allow"),
        ("sysctl -a", "allow", "option_refused"),
        ("df -a", "allow", "option_refused"),
        ("findmnt -o TARGET,SIZE", "allow", "value_refused"),
        ("findmnt -oTARGET,USE%", "allow", "value_refused"),
        ("findmnt --output=target,avail", "allow", "value_refused"),
        ("findmnt -o TARGET,INO.USED", "allow", "value_refused"),
        ("findmnt -D -A", "allow", "option_refused"),
        ("findmnt -o TARGET,SOURCE,OPTIONS", "allow", "allow"),
        ("findmnt -D", "allow", "allow"),
        ("lsusb -v", "allow", "option_refused"),
        ("lspci -vv", "allow", "option_refused"),
        ("ss -tln", "allow", "not_read_only"),
        ("hostnamectl", "allow", "not_read_only"),
        ("docker info", "allow", "not_read_only"),
    ],
)
def test_walks_and_effects_under_both_presets(command: str, usual: str, strict: str) -> None:
    assert (code(USUAL, command), code(STRICT, command)) == (usual, strict)


@pytest.mark.parametrize(
    ("command", "near"),
    [
        ("df /home/bob/x", "df /home/bob/x/"),
        ("du -sh /proc", "du -x -sh /proc"),
        ("find /proc -name x", "find /proc -xdev -name x"),
    ],
)
def test_what_would_pass_is_offered(command: str, near: str) -> None:
    refusal = USUAL.judge(command)
    assert isinstance(refusal, Refusal)
    assert near in nearest(USUAL, command, refusal)
    assert isinstance(USUAL.judge(near), ApprovedCommand)


# ------------------------------------------------------------------ settings

NAMES = """
net.core.netdev_rss_key net.ipv4.tcp_fastopen_key net.ipv6.conf.all.stable_secret
net.ipv6.conf.eth0/100.stable_secret net.ipv6.conf.ens192.stable_secret
""".split()


@pytest.mark.parametrize("name", NAMES)
def test_no_part_of_a_keys_name_finds_it(name: str) -> None:
    ends = [name[:end] for end in range(1, len(name))]
    parts = [name[at : at + 3] for at in range(len(name))]
    for part in (*ends, *parts, name):
        assert PATHS.settings.check_expression(part), part
    assert PATHS.settings.check_expression(f"swappiness|{name[4:]}")
    assert PATHS.settings.check_expression(f"^{name}$")
    assert PATHS.settings.check_expression(f"^{name[:5]}.*{name[-2:]}$")
    assert PATHS.settings.check_expression("." * len(name))


@pytest.mark.parametrize("interface", ["all", "eth0", "eth0.100", "eth0.lan", "a.b.c"])
def test_a_settings_name_is_judged_in_every_reading(interface: str) -> None:
    for name in (f"net.ipv6.conf.{interface}", f"net.ipv6.conf.{interface}.stable_secret"):
        assert PATHS.settings.check_name(name, is_glob=False), name
        assert PATHS.settings.check_name(name.replace(".", "/"), is_glob=False), name
    assert PATHS.settings.check_name(f"net.ipv6.conf.{interface}.forwarding", is_glob=False) is None
