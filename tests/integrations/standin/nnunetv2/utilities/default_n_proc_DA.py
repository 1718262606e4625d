import os

VARIABLE = "nnUNet_n_proc_DA"


def get_allowed_n_proc_DA():
    return int(os.environ.get(VARIABLE, "0"))
