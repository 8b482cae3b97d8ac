"""``inodes`` and their ``identity``, the numbers in order of their ``arrivals``, what is kept of a
``directory``, which inode is ``listed`` by a name there, tables of ``handles``."""
