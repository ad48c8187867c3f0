"""Are faces of all groups obscured alike? Labelled crops in the same street scenes."""
