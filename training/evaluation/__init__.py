"""How good made layers are: measures, baselines and the report of ``acetate evaluate``."""
