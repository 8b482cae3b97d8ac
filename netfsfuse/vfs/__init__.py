"""Inodes, attributes, directories, open handles: what a mount is, without FUSE and without SMB.

* ``inodes``      the inodes that the kernel knows, by number; their paths, look-up counts
* ``identity``    PURE: is this still the same file? when may cached pages stay?
* ``contents``    the data side of open files: one netfs inode per file and coherency record
* ``handles``     open files and open directories
* ``filesystem``  the calls of a file system, in terms of the above
* ``xattrs``      the attributes by which the command asks a mount
* ``ops``         the interface to the server's names that ``smb`` fits

Two numbers tell files apart. The inode number is the server's FileId, so that it is stable; since
a server may give a dead file's FileId to a new file, a generation (the creation time when the inode
became known) goes with it. A path is only how we ask: whatever the server answers is
checked against the number and generation that the kernel means, and ``Stale`` makes the kernel look
the name up again.
"""
