"""Codecs: pictures of layers to tokens and back."""
