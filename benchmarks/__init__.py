"""Measurements against what one would use instead: `python -m benchmarks games`, or `make bench`. No part of the tests.

Seconds hold for the machine and the hour they were taken in; what is claimed are ratios of figures taken side by side
in one go. Each figure is of a whole process, from its start to its end, as the kernel accounts for it.
"""
