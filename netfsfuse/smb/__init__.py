"""SMB3 under netfs and vfs: ServerOps and the namespace of one share.

Who does what::

    bridge      smbprotocol in a thread: negotiate, authenticate, derive keys, connect the tree;
                then hands over the socket, the keys, the next MessageId and the credits
    wire/       PURE: structs of the hot messages ([MS-SMB2] 2.2), bytes in and out
    names, reparse, status, credits, crypto, saturation     PURE
    intake      bytes from the socket, in few system calls
    landing     where in a reader's buffer a reply is received, one at a time
    receive     replies to their buffers, verified or decrypted there
    credit_gate waiting for credits
    transport   one TCP connection on the trio loop: pending table, sending, its end
    session     the connection that is live now; makes it again when it was lost
    channels    further connections for reads, opened when the session's own is saturated
    handle      a handle on the server, which several of our files may share
    siblings    the handles of the same file on the channels
    file        one open file (netfs.ops.ServerFile)
    openfiles   opening so that the times in the answer are those of now
    directory   one listing
    namespace   paths -> attributes, handles, listings (vfs.ops.Namespace)

Task ownership: each transport's receive loop and writer live in the service nursery that
``mount.py`` opens, and so do the tasks that keep channels open and open handles there. A caller
that is cancelled leaves its request behind as an abandoned entry in the pending table; the entry
keeps the receive buffer and is removed, with its credits, by the reply or by the end of the
connection.
"""
