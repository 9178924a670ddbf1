"""What every engine offers: a function on arrays, checked in the tensors' own names."""
