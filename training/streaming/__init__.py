"""The pieces under ``training.stream``: the plan of an epoch, reading by ranges, decoding, worker processes.

Reading order: ``config`` (what decides the plan), ``geometry``, ``layouts`` and ``layout`` (boxes on the token grid,
the regions of a task), ``plan`` (draws, order, packing), ``index`` and ``fetch`` (where the bytes are and how they
come), ``pixels`` (bytes to arrays), ``workers``, ``deliver``. Nothing here imports torch, so that a worker starts in a
fraction of a second.
"""
