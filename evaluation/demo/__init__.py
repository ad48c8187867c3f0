"""Demo input from photographs that anybody may use, and a picture of before and after."""
