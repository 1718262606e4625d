def recursive_find_trainer_class_by_name(trainer_name):
    raise RuntimeError(f"Could not find requested nnunet trainer {trainer_name} in …")
