"""The sparse file: weights with many zeros in one small .safetensors file, described in docs/sparse_format.md."""
