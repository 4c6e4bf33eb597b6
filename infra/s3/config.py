"""The files of a one-node Swift: no replication, no memcache, one device, tempauth with one user."""

from __future__ import annotations

import getpass
from pathlib import Path

KEY = "test:tester"
SECRET = "testing"
REGION = "us-east-1"
SERVERS = ("account", "container", "object", "proxy")

_SWIFT = """\
[swift-hash]
swift_hash_path_prefix = acetate
swift_hash_path_suffix = acetate

[storage-policy:0]
name = gold
default = yes
"""

_DEFAULT = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {root}/etc
devices = {root}/srv
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = WARNING
eventlet_debug = false
"""

_STORAGE = """
[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
disk_chunk_size = 1048576
network_chunk_size = 1048576
"""

_PROXY = """\
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
object_chunk_size = 1048576
client_chunk_size = 1048576"""

_FILTERS = (
    "catch_errors", "gatekeeper", "healthcheck", "cache", "listing_formats", "bulk", "s3api", "tempauth", "copy", "slo",
    "dlo", "versioned_writes", "symlink",
)  # fmt: skip

_FILTER_OPTIONS = {
    "cache": "use = egg:swift#memcache\nmemcache_servers = 127.0.0.1:{memcache}",
    "s3api": f"use = egg:swift#s3api\nlocation = {REGION}\ns3_acl = false\ndns_compliant_bucket_names = false",
    "tempauth": f"use = egg:swift#tempauth\nuser_{KEY.replace(':', '_')} = {SECRET} .admin",
    "versioned_writes": "use = egg:swift#versioned_writes\nallow_versioned_writes = true",
}


def write(root: Path, ports: dict[str, int]) -> None:
    """Write the configuration of every server under ``root/etc``; nobody listens on the port of ``memcache``."""
    for directory in ("etc", "srv/d1", "log"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    etc = root / "etc"
    (etc / "swift.conf").write_text(_SWIFT)
    for name in SERVERS:
        head = _DEFAULT.format(port=ports[name], user=getpass.getuser(), root=root)
        body = _proxy(ports["memcache"]) if name == "proxy" else _STORAGE.format(name=name)
        (etc / f"{name}.conf").write_text(head + body)


def _proxy(memcache: int) -> str:
    sections = [
        f"\n[pipeline:main]\npipeline = {' '.join(_FILTERS)} proxy-server",
        _PROXY,
    ]
    for name in _FILTERS:
        options = _FILTER_OPTIONS.get(name, f"use = egg:swift#{name}").format(memcache=memcache)
        sections.append(f"[filter:{name}]\n{options}")
    return "\n\n".join(sections) + "\n"
