"""Training of declared tasks: from a task file and a history to weights, a threshold and a card.

The command `caststream train FILE.toml HISTORY` calls `train.train_task`. `history` opens the data, `pieces` divides
them, `statistics` looks at them, `net` is the model, `forecast` how it learns, `export` what the compiled kernel reads.
"""
