"""``netfsfuse bench``: real work, beside real peers, in one run.

Pure:

* ``plan``        the words of it: cells, contenders, links
* ``rows``        rows, their cells, the contenders of each
* ``sizes``       how much a run reads
* ``pace``        how many rounds there is time for
* ``spread``      medians and paired ratios
* ``request``     what the user asked for
* ``results``     what was measured: plain data, JSON
* ``table``       the results in columns
* ``plot``        the results as a picture
* ``errors``      a contender that broke, one that cannot run here

At work:

* ``target``      a share and its login, as contenders reach it
* ``serving``     a private server, or a share that was given
* ``links``       the way there, and what it carries by itself
* ``contenders``  the programs compared
* ``work``        what they are made to do
* ``runner``      A B A B over rounds
* ``process``     one run of a program: time, CPU, memory
* ``pages``       the kernel's pages dropped or warmed
* ``machine``     what this machine is, for the results
* ``inside``      the same bench again, in a network of its own
* ``progress``    what is running now
* ``show``        the table on a terminal
* ``run``         the whole, with the clean-up

It imports leaves, ``lab.server`` and ``lab.link``.

The bench drives the real command, as the demo does, and knows nothing of the layers below. Rules:

* Contenders of a cell take turns, and ratios are of paired rounds: the machine is noisy.
* A cold run has a fresh mount and an empty cache; the server's page cache is warm.
* No run is meant to take over 10 s: its size follows the contender's rate, and is shown.
* What ours delivered is compared with the server's file, once for each file.
* Written data counts as written when the server has it; the same comparison follows.
* What was not run is said, with the reason.
"""
