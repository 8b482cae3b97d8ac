"""PURE: the SMB2 messages that we pack and parse ourselves, because they are hot.

One file a command. Requests are bodies without the 64-byte header; replies are parsed from the
whole message, header included, since [MS-SMB2] counts its offsets from the header. Everything
rarer goes through smbprotocol's structures. Imports nothing of ours but ``errors`` and ``types``.

::

    header      the 64 bytes that each message begins with, frames, CANCEL
    tree        TREE_CONNECT, and the confirmation of what was negotiated
    create      CREATE and CLOSE
    lease       the create context that asks for a lease, and its breaks
    read        READ
    write       WRITE, FLUSH
    query       QUERY_INFO, QUERY_DIRECTORY, IOCTL
    lock        LOCK
    set_info    SET_INFO: times, size, name, removal
    notify      CHANGE_NOTIFY
    filetime    times of the wire -> ns since 1970
    attributes  attribute bits and reparse tags of the wire -> flags
"""
