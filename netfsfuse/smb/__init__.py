"""SMB3 under netfs and vfs: one share's files, read and written, and its names.

Four storeys, each of which imports only those below it and what is neutral (``errors``, ``types``,
``config``, ``stats``, ``tasks``, ``netfs``' buffers and demand); no two files import each other::

    connect      a share, from a mount's configuration to the connection's end
    share/       what is on the share: paths, open files, listings, watches
    session/     the login, made again when it was lost, and its further connections
    connection/  one TCP connection on the trio loop: requests out, replies in
    wire/        PURE: structs of the hot messages ([MS-SMB2] 2.2), bytes in and out

    status       PURE: NTSTATUS codes and the errors that they are; imported by all storeys

A lower storey that needs something of one above says what in a Protocol of its own: a handle
(``share/handle``) does not know the handles beside it (``share/siblings``), channels do not know
the session that they are of, and what asks for links (``session/followed``) does not know the
session that it asks.

Task ownership: each transport's receive loop and writer live in the service nursery that
``mount.py`` opens, and so do the tasks that keep channels open and open handles there. A caller
that is cancelled leaves its request behind as an abandoned entry in the pending table; the entry
keeps the receive buffer and is removed, with its credits, by the reply or by the end of the
connection.
"""
