"""The region transformer, its codecs, text encoders and samplers: pure tensors, no files."""
