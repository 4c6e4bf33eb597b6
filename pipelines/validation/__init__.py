"""Is the data what it says? Expectations over the index, and the whole check of a published dataset.

``expectations`` runs before publication and may stop it; ``verify`` is ``acetate validate``: it reads everything again.
"""
