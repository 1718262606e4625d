"""Other people's layouts, read in place: nnU-Net, Medical Decathlon, a table of paths."""
