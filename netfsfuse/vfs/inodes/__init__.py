"""``inodes`` and their ``identity``, what is kept of a ``directory``, which inode is ``listed`` by
a name there, tables of ``handles``."""
