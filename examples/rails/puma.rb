# frozen_string_literal: true

workers 2
threads 2, 2
preload_app!
bind "tcp://127.0.0.1:#{ENV.fetch("PORT", "9494")}"
# In the worker: Puma's master has handlers of its own.
on_worker_boot { HeapDump.on_signal("USR2", dir: ENV.fetch("DUMP_DIR", ".")) } unless ENV["NOTHING_OF_OURS"]
