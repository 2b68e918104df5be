"""The program languages: signatures, parsing, linearisation, compilation to one bytecode."""
