"""pyfuse3 <-> vfs, thin. May import ``netfsfuse.vfs`` and the leaf modules; alone imports pyfuse3.

* ``errnos``      the only errors -> errno table
* ``guard``       what stands round every handler: deadline, errno, nothing else leaves
* ``deadlines``   one deadline for all handlers
* ``workers``     the tasks that read requests, and which of them reads next
* ``backlog``     the data of writes that wait, and the bound on it
* ``attrs``       FileAttr -> EntryAttributes, VolumeStat -> StatvfsData
* ``operations``  the handlers, a few lines each
* ``file_changes``  those of files made, written, cut and closed
* ``name_changes``  those of names made, removed and renamed
* ``notifier``    tells the kernel what others have changed
* ``postponed``   news that is told a moment later, as an open may tell it first
* ``lane``        calls that wait in the kernel, so that one holds up no other
* ``absent``      for how long the kernel may believe that a name is not there
* ``readable``    the cure for pyfuse3's blocking read of /dev/fuse
* ``initflags``   flags of INIT that libfuse does not know of
* ``tuning``      read_ahead_kb and max_background of the mount
* ``mapped``      pages that programs have changed in mappings, at the end
* ``session``     init, main loop, close
"""
