"""The data check: what is wrong with a dataset, file by file; and the counts: what is in it.

Read `dataset` first, then the checks (`annotations`, `mistakes`, `pictures`), one function each.
"""
