# frozen_string_literal: true

# A preforking server with a leak: each worker keeps a proc, and through it the request, for every /leak. Prints its
# port and its workers' pids. With an argument, loads heap_dump.rb in the master, dumps on USR2 into that folder.
require "socket"

if ARGV[0]
  require_relative "../../ruby/heap_dump"
  HeapDump.on_signal("USR2", dir: ARGV[0])
end

class Request
  def initialize(path)
    @path = path
    @body = "body of #{path} " * 4
  end
end

class Callbacks
  @kept = []
  class << self
    attr_reader :kept

    def remember(request)
      @kept << -> { request }
    end
  end
end

def answer(path)
  Callbacks.remember(Request.new(path)) if path.start_with?("/leak")
  10.times { "garbage" * 1_000 } # Keeps the collector and malloc at work.
  %({"pid":#{Process.pid},"kept":#{Callbacks.kept.size},"requests":#{ObjectSpace.each_object(Request).count},"fds":#{Dir.children("/proc/self/fd").size}})
end

def serve(server)
  loop do
    client = server.accept
    path = client.gets.to_s.split[1].to_s
    nil until client.gets.to_s.strip.empty?
    body = answer(path)
    client.write("HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}")
  rescue SystemCallError, IOError
    next
  ensure
    client&.close
  end
end

# One listener for each worker, so that a test can talk to the one it means.
servers = Array.new(2) { TCPServer.new("127.0.0.1", 0) }
workers = servers.map do |server|
  fork do
    Array.new(2) { Thread.new { serve(server) } }.each(&:join)
  end
end
trap("TERM") { workers.each { |pid| Process.kill("KILL", pid) } && exit!(0) }
puts %({"workers":[#{workers.zip(servers).map { |pid, server| %({"pid":#{pid},"port":#{server.addr[1]}}) }.join(",")}]})
$stdout.flush
# Ends with the test, however that ends.
$stdin.read
workers.each { |pid| Process.kill("KILL", pid) }
