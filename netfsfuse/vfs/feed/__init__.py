"""What ``netfsfuse watch`` reads: ``feeds``, and ``treewatch`` over a tree."""
