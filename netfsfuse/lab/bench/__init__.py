"""``netfsfuse bench``: real work, beside real peers, in one run.

Pure: ``plan`` (rows, cells, contenders), ``sizes`` and ``pace`` (how much, how often), ``spread``
(medians and paired ratios), ``results`` (plain data, JSON), ``table``, ``plot`` and ``verdict``.
At work: ``serving`` (private server or given share), ``link`` (delaying proxy and TUN device),
``contenders`` (the programs compared), ``work`` (what they do), ``runner`` (A B A B over rounds),
``run`` (the whole, with the clean-up).

The bench drives the real command, as the demo does, and knows nothing of the layers below. Rules:

* Contenders of a cell take turns, and ratios are of paired rounds: the machine is noisy.
* A cold run has a fresh mount and an empty cache; the server's page cache is warm.
* No run is meant to take over 10 s: its size follows the contender's rate, and is shown.
* What ours delivered is compared with the server's file, once for each file.
* What was not run is said, with the reason.
"""
