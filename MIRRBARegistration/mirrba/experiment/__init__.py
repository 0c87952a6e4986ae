"""The paper's study: methods × pairs, scored and kept. docs/experiment.md has the folders and the methods.

    cohort = read_cohort("cohort")                          # cohort.py: a folder of pairs, checked
    record = run_pair(cohort.pairs[0], METHODS["greedy"], Settings(), Store("results"))
    record.scores["dice_lesions"]

A method runs in a process of its own (run_method.py); importing this package imports none of their packages.
"""

from __future__ import annotations
