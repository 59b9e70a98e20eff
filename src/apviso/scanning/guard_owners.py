"""Whose a connection on loopback is, as the kernel knows it; runs inside the guard's process, too."""

from __future__ import annotations

import os
import socket
import struct

_LOOPBACK = socket.inet_aton("127.0.0.1")
# Of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _REQUEST = 20, 1
_HEAD = struct.Struct("=IHHII")
_WANTED = struct.Struct("=BBBBI")
_ANY_DEVICE_ANY_COOKIE = struct.pack("=I", 0) + b"\xff" * 8
_ENDS_AT, _OWNER_AT, _ANSWER_BYTES = 20, 80, 88
_ASK_SECONDS = 1.0


def is_own_user(port: int, guard_port: int) -> bool:
    """Whether the loopback connection from `port` to the guard belongs to the user who runs the guard; true where the system cannot tell.

    Whoever reaches the guard speaks with the target's credentials, so other users of the host are kept out."""
    if (owner := owner_of(port, guard_port)) is not None:
        user, inode = owner
        return user == os.getuid() and inode != 0
    try:
        with open("/proc/net/tcp", encoding="ascii") as table:  # noqa: PTH123
            return is_owned(table.readlines()[1:], port, guard_port, os.getuid())
    except OSError:
        return True


def owner_of(port: int, guard_port: int) -> tuple[int, int] | None:
    """User and inode of this one connection, where the kernel can be asked for one; None where only its table of all can tell.

    To read that takes five hundred times as long."""
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return None
    ends = struct.pack("!HH16s16s", port, guard_port, _LOOPBACK, _LOOPBACK)
    wanted = _WANTED.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ends + _ANY_DEVICE_ANY_COOKIE
    try:
        with socket.socket(family, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
            kernel.settimeout(_ASK_SECONDS)
            kernel.send(_HEAD.pack(_HEAD.size + len(wanted), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0) + wanted)
            told = kernel.recv(4096)
    except OSError:
        return None
    # Anything but this very connection is an error, or a socket that listens at its port: the table knows for certain.
    if len(told) < _ANSWER_BYTES or _HEAD.unpack_from(told)[1] != _SOCK_DIAG_BY_FAMILY or told[_ENDS_AT : _ENDS_AT + len(ends)] != ends:
        return None
    user, inode = struct.unpack_from("=II", told, _OWNER_AT)
    return user, inode


def is_owned(table: list[str], port: int, guard_port: int, user: int) -> bool:
    """The rule of `is_own_user` over the lines of /proc/net/tcp (columns: 1 local, 2 remote, 7 user, 9 inode).

    The kernel shows what nobody holds any more, such as an old connection from the same port, as root's, with inode 0."""
    ends = [f"0100007F:{port:04X}", f"0100007F:{guard_port:04X}"]
    rows = (line.split() for line in table)
    return any(row[1:3] == ends and row[7] == str(user) and row[9] != "0" for row in rows)
