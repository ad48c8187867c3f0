"""Containers other than JPEG: PNG, WebP and TIFF, and the tag directories TIFF shares with EXIF."""
