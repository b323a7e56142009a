"""Programs that ask for things all the time and say what they got.

Each is given an order on standard input, as one line of JSON, and stops when that ends; what it says on standard output is `speaking`'s.
Tokens and secrets go that way only: no file ever holds one.
"""
