"""The command: mount, umount, stats, demo, bench.

Two halves. The pure one turns text into values and can be tested with tables: ``sizes``,
``source``, ``values``, ``arguments``, ``table``, ``foreign`` and ``options`` (the ``-o`` options),
``choices`` (what was chosen, as a :class:`~netfsfuse.config.MountConfig`). The other half meets the
machine: ``credentials`` (files, environment, prompt), ``checks`` (mount point, /dev/fuse),
``daemon`` and ``handover`` (a process that outlives the command, readiness, secrets), ``probe``
(asking a filesystem that may hang), ``unsent`` (what is to be written still), ``detach``,
``programs``, ``conceal``, ``log``; and one file a command: ``mount``, ``umount``, ``stats``,
``bench``. ``main`` joins them and is the only place where an error becomes a line and an exit
status.

Invariants:

* An error is one line on stderr, ``netfsfuse: ...``, with exit status 1, or 2 for wrong usage.
  Notices are held back until the mount answers, so that a failure really is one line.
* No secret is in the arguments or the environment of the process that stays, in a log line or in
  an error. What travels from the command to the daemon goes through a memfd.
* Nothing here touches a mount point in its own process: a hung mount would hang the command.
  ``probe`` does it in a child, with a deadline.

May import the leaves (``config``, ``errors``, ``mountinfo``, ``stats``, ``types``), and lazily
``netfsfuse.mount`` and ``netfsfuse.lab``: ``--help`` and usage errors need no FUSE library.
"""
