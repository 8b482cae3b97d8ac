"""netfsfuse: mount an SMB3 share through FUSE, with many reads in flight and a persistent cache.

Folders are layers and imports point down only (``tests/test_layering.py`` holds it)::

    __main__, cli/          the command                        knows config and mount
    bench/                  measures mounts and their peers; link/: long links of its own
    demo/                   a private Samba and the demonstration
    mount.py                composition root: wires layers, owns the service nursery
    fuse/                   pyfuse3 <-> vfs; the one errors -> errno table; one guard
    vfs/                    inodes, attributes, directories, open handles; no pyfuse3, no SMB
    smb/                    ServerOps and the namespace over SMB3
    fscache/                CacheOps over cachefiles; the one place blocking file I/O meets threads
    netfs/                  the helper library: expand, slice, issue, collect, readahead
    errors, types, config, stats, mountinfo    leaves

``cachefiles`` beside this package is a library of its own: synchronous, no trio, no netfsfuse.
"""

__version__ = "0.1.0"
