"""How to call each op at random: `CALLS` of a file maps names to functions of a random.Random.

op_inputs.py has the tensors.
"""
