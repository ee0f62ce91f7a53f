"""Language models trained with the objectives of `pessimism`, and measured against the policies that they induce."""
