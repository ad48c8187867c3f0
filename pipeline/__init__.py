"""The batch job: a bucket of photographs in, a bucket of anonymised photographs out."""
