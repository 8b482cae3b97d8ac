"""pyfuse3 <-> vfs, thin.

* ``errnos``      the only errors -> errno table
* ``guard``       what stands round every handler: deadline, errno, nothing else leaves
* ``deadlines``   one deadline for all handlers
* ``attrs``       FileAttr -> EntryAttributes, VolumeStat -> StatvfsData
* ``operations``  the handlers, a few lines each
* ``readable``    the cure for pyfuse3's blocking read of /dev/fuse
* ``tuning``      read_ahead_kb and max_background of the mount
* ``session``     init, main loop, close
"""
