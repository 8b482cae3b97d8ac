"""Faults under loads: what a mount does while its network or its server fails.

``faults`` is the table of scenarios, ``loads`` a program that works on the mount meanwhile and
checks each byte, ``stage`` puts them together and looks for what was left behind. ``test_matrix``
runs some of all pairs in the suite, all of them among the soaks.
"""
