"""Pure functions on tensors: padding, tiles, histograms of gradients."""
