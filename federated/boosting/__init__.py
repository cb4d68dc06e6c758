"""Boosting on sums: histograms of a lender's rows, split search, trees and their JSON.

Nothing here encrypts, sends or stores. All values that lenders add up are integers modulo 2^64, so
that the trees depend neither on the order of the rows nor on the lender that holds each of them.
"""
