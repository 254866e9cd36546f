# frozen_string_literal: true

# How long does a dump stop the process? ruby bench/ruby-pause.rb [MILLION_OBJECTS…]: one JSON line a run. The process
# ticks every millisecond; the pause is the longest gap between two ticks while it is dumped (and, to compare, while it
# is not).
require "json"
require "tmpdir"
require_relative "../ruby/heap_dump"

Kept = Struct.new(:number, :text)

def longest_gap
  last = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  gap = 0
  until yield
    sleep 0.001
    now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    gap = [gap, now - last].max
    last = now
  end
  (gap * 1000).round(1)
end

def until_exists(pattern)
  started = Time.now
  gap = longest_gap { !Dir.glob(pattern).empty? || Time.now - started > 300 }
  raise "no dump" if Dir.glob(pattern).empty?

  [gap, (Time.now - started).round(2)]
end

tool = File.expand_path("../dist/bin/heapdump-dump.js", __dir__)
(ARGV.empty? ? [0.1, 1] : ARGV.map(&:to_f)).each do |millions|
  $kept = Array.new((millions * 500_000).to_i) { |n| Kept.new(n, "text #{n}") }
  GC.start
  Dir.mktmpdir do |dir|
    HeapDump.on_signal("USR2", dir: dir)
    deadline = Time.now + 2
    idle = longest_gap { Time.now > deadline }
    Process.kill("USR2", Process.pid)
    by_signal, signal_seconds = until_exists("#{dir}/dump_*.json")
    sleep 0.5
    file = "#{dir}/gdb.json"
    debugger = spawn("node", tool, "--pid", Process.pid.to_s, "--out", file, "--timeout", "300", out: File::NULL)
    by_debugger, debugger_seconds = until_exists(file)
    Process.wait(debugger)
    lines = File.foreach(file).count
    puts JSON.generate(question: "ruby-pause", objects: lines, bytes: File.size(file), idleMs: idle, signalPauseMs: by_signal, signalSeconds: signal_seconds,
                       debuggerPauseMs: by_debugger, debuggerSeconds: debugger_seconds, ruby: RUBY_VERSION)
  end
end
