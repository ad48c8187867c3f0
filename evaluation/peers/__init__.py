"""Other tools on the same labelled pictures, judged by the same rule as ours."""
