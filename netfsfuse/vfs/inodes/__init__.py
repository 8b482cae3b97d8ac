"""``inodes`` and their ``identity``, what is kept of a ``directory``, tables of ``handles``."""
