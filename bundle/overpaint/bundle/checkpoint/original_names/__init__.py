"""How single files call the tensors that diffusers' folders have: one module a network."""
