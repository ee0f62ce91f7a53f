"""The verb `induced_target` and what its result can be asked: policy, certificate, conservatism, other minimizers."""
