# frozen_string_literal: true

# A server that leaks under load, and dumps itself on the night that it is told: usage: ruby nightly.rb
# GET /visit keeps nothing; /leak keeps a session for ever; /night?TAKEN_AT&FILE writes a dump of that time, and beside
# it FILE.numbers.json with what it counts itself. Ends with its standard input.
require "json"
require "objspace"
require "socket"
require_relative "../../ruby/heap_dump"

class Session
  def initialize(path) = @path = path
end

class Cart
  def initialize(path) = @lines = Array.new(3) { "line of #{path}" }
end

module Bus
  @listeners = []
  class << self
    attr_reader :listeners

    def on_tick(&listener) = @listeners << listener
  end
end

class << Time
  attr_accessor :night

  alias real_now now
  def now = night || real_now
end

# Nothing leaks between the count and the fork of the dump; visits go on.
LEAKING = Mutex.new
RECENT = Array.new(100)

def leak(path)
  session = Session.new(path)
  Bus.on_tick { session }
end

def night(taken_at, file)
  LEAKING.synchronize do
    Time.night = Time.iso8601(taken_at)
    numbers = { sessions: ObjectSpace.each_object(Session).count, listeners: Bus.listeners.size }
    File.write("#{file}.numbers.json", JSON.generate(numbers))
    HeapDump.dump(file)
  ensure
    Time.night = nil
  end
end

def answer(target)
  path, query = target.split("?", 2)
  case path
  when "/leak" then LEAKING.synchronize { leak(target) }
  when "/night" then night(*query.split("&", 2))
  else RECENT[rand(RECENT.size)] = Cart.new(target)
  end
end

def serve(server)
  loop do
    client = server.accept
    target = client.gets.to_s.split[1].to_s
    nil until client.gets.to_s.strip.empty?
    answer(target)
    client.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
  rescue SystemCallError, IOError
    next
  ensure
    client&.close
  end
end

require "time"
ObjectSpace.trace_object_allocations_start
server = TCPServer.new("127.0.0.1", 0)
Array.new(4) { Thread.new { serve(server) } }
puts server.addr[1]
$stdout.flush
$stdin.read
