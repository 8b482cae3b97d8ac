"""netfsfuse: mount an SMB3 share through FUSE, with many reads in flight and a persistent cache.

Folders are layers and imports point down only (``tests/test_layering.py`` holds it)::

    __main__, cli/          the command; knows config, and late mount, warm, fscache and lab
    lab/                    a private Samba, long links, the bench, the demonstration
    warm.py                 reads trees into a mount's cache
    mount.py                composition root: wires layers, owns the service nursery
    fuse/                   pyfuse3 <-> vfs; the one errors -> errno table; one guard
    vfs/                    inodes, attributes, directories, open handles; no pyfuse3, no SMB
    smb/                    ServerOps and the namespace over SMB3
    fscache/                CacheOps over cachefiles; the one place blocking file I/O meets threads
    netfs/                  the helper library: expand, slice, issue, collect, readahead
    errors, types, config, stats, mountinfo, and other single files    leaves

``docs/architecture.md`` follows a read, a name and an open through them. ``cachefiles``
beside this package is a library of its own: synchronous, no trio, no netfsfuse.
"""

__version__ = "0.1.0"
