# frozen_string_literal: true

# Leaks and churns between three dumps of itself, and says what it knows about its own objects, by object_id, which
# Ruby never gives twice (since 2.7): usage: ruby churning.rb FOLDER
require "json"
require "objspace"

class Leaked
  def initialize = @payload = "leaked #{object_id}"
end

class Churned
  def initialize = @number = 1
end

LEAKED = []
CHURNED = []

# One line makes all: class and site say nothing about which ones are new.
def leak(count) = count.times { LEAKED << Leaked.new }
def churn(count) = count.times { CHURNED << Churned.new }

def load_round(leaked, churned)
  CHURNED.clear
  # Frees the slots, so that the next objects stand where the old ones stood.
  GC.start
  churn(churned)
  leak(leaked)
end

def dump(folder, name)
  GC.start
  GC.disable
  alive = [Leaked, Churned].to_h { |kind| [kind.name, ObjectSpace.each_object(kind).map(&:object_id)] }
  File.open(File.join(folder, "#{name}.json"), "w") { |file| ObjectSpace.dump_all(output: file) }
  GC.enable
  alive
end

folder = ARGV.fetch(0)
ObjectSpace.trace_object_allocations_start
load_round(100, 3000)
a = dump(folder, "A")
load_round(500, 3000)
b = dump(folder, "B")
load_round(300, 3000)
c = dump(folder, "C")

numbers = a.keys.to_h do |kind|
  [kind, {
    before: a[kind].size, after: b[kind].size,
    survived: (a[kind] & b[kind]).size, new: (b[kind] - a[kind]).size, gone: (a[kind] - b[kind]).size,
    leaked: ((b[kind] - a[kind]) & c[kind]).size
  }]
end
puts JSON.generate(numbers)
