"""Streaming, training, distillation, evaluation and generation on a published dataset."""
