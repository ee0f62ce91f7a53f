"""What G sampled completions a prompt do: the law of a reward, the expected advantage, its target, safe designs."""
