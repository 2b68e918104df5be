"""The networks of NS-VQA, one file each."""
