"""From layered files to a verified dataset: Ray jobs over units of designs. The main path is ``pipelines/build.py``."""
