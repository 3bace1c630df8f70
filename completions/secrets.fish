complete --keep-order --exclusive --command secrets --arguments "(COMPLETE=fish secrets -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
