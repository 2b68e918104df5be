"""How to call each op at random: `CALLS` of a file maps names to functions of a random.Random.

`EVERY`, by name, keeps a call that takes long to every n-th round. op_inputs.py has the tensors.
"""
