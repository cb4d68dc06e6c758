"""Secure sums of the lenders' vectors modulo 2^64, after Bonawitz et al. (CCS 2017).

`group` holds the public facts of a run: its lenders and their keys. `lender_side` masks a lender's
vector, and `coordinator_side` opens the sum of a roster; `upload` is the message between them.
Below, `statement` is signed by every lender of a step, `seeds` derives all seeds, `masking` expands
them, and `shamir` and `sealed_share` recover the self-mask of a lender that has vanished.
"""
