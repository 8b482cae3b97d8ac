"""What is on the share: ``namespace``, ``file``, ``handle``, ``openfiles``, ``deferred``,
``directory``, ``watch``, ``names``, ``reparse``, ``compound``."""
