"""``inodes`` and their ``identity``, those ``frozen`` into a few bytes, the numbers in order of
their ``arrivals``, what is kept of a ``directory``, which inode is ``listed`` by a name there,
tables of ``handles``, what the ``kernel`` is told of its own accord."""
