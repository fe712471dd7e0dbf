"""Labels that are no class numbers in tars: names, lists, numbers, or in a file beside them."""
