"""Running the runtimes of deployments: `port` is what an orchestrator does, `supervision` what is done with one."""
