"""Everything about models at inference time: pixels in, scored candidates out."""
