# frozen_string_literal: true

# Writes a real heap dump of a real process: structures like those of a Rails application, and a planted leak.
#
#   ruby bench/make-dump.rb [--objects 2200000] [--leaked 20000] [--list 150000] --out /var/tmp/heapdump-bench/rails.json
#
# The leak: Shop::Broker (a class) keeps @subscribers, an array of procs; each captures a Shop::RequestState with three
# Shop::Line. Beside the dump, FILE.facts.json says what the process itself knows of its heap: checks need no other source.
# The structures are the same in each run (a fixed seed); addresses and the interpreter's own objects are not.

require "json"
require "objspace"
require "optparse"
require "set"

options = { objects: 2_200_000, leaked: 20_000, list: 150_000 }
OptionParser.new do |parser|
  parser.on("--objects N", Integer) { |number| options[:objects] = number }
  parser.on("--leaked N", Integer) { |number| options[:leaked] = number }
  parser.on("--list N", Integer) { |number| options[:list] = number }
  parser.on("--out FILE") { |file| options[:out] = file }
end.parse!
abort("--out FILE is needed") unless options[:out]

# As Rails applications are dumped in practice: with file, line, method and generation of each allocation.
ObjectSpace.trace_object_allocations_start
Random.srand(42)

module Shop
  Line = Struct.new(:product_id, :quantity, :note)

  # What a request leaves behind when something keeps it.
  class RequestState
    def initialize(number)
      @path = "/orders/#{number}?session=#{number.to_s(16)}&locale=de"
      @params = { "id" => number.to_s, "controller" => "orders" }
      @lines = Array.new(3) { |index| Line.new(number + index, index + 1, "line #{index} of #{number}") }
    end

    attr_reader :lines
  end

  # Keeps every subscriber: the leak.
  class Broker
    @subscribers = []
    class << self
      attr_reader :subscribers

      def subscribe(state)
        @subscribers << proc { state.lines.size }
      end
    end
  end

  # Not a leak: a known number of long-lived objects.
  class Product
    def initialize(number)
      @attributes = {
        "id" => number,
        "name" => "Product number #{number}, #{number.odd? ? "Übergröße" : "plain"}",
        "sku" => format("SKU-%08d", number),
        "price" => number * 1.25 + 1e300, # no flonum: a FLOAT on the heap
        "description" => "A long description of product #{number}, as shops have them, with some words to fill it. " * 2,
      }
      @tags = ["tag#{number % 97}".to_sym, "colour-#{number % 11}", "size-#{number % 7}"]
      @previous = nil
    end

    attr_accessor :previous
  end
end

module ActiveModel
  class Attribute
    def initialize(name, value_before_type_cast, type)
      @name = name
      @value_before_type_cast = value_before_type_cast
      @type = type
    end
  end

  class Type
    def initialize(name)
      @name = name
    end
  end
end

# A record as ActiveRecord lays it out: attribute objects in a hash, changes, associations, errors.
class ApplicationRecord
  TYPES = %w[integer string text datetime].map { |name| ActiveModel::Type.new(name) }

  def initialize(number, owner)
    @attributes = self.class::COLUMNS.each_with_index.to_h do |column, index|
      value = index.zero? ? number.to_s : "#{column} of #{self.class.name.downcase} #{number}, raw value"
      [column, ActiveModel::Attribute.new(column, value, TYPES[index % TYPES.size])]
    end
    @association_cache = { owner: owner }
    @errors = []
    @new_record = false
  end

  attr_reader :association_cache
end

class User < ApplicationRecord
  COLUMNS = %w[id email first_name last_name street city created_at].freeze
end

class Order < ApplicationRecord
  COLUMNS = %w[id user_id number state total created_at].freeze
end

# The list: each node knows the next one only.
class ListNode
  def initialize(following)
    @following = following
  end
end

class Application
  attr_accessor :users, :products, :list, :view_cache, :sessions, :tokens
end

APPLICATION = Application.new
before = ObjectSpace.count_objects
live = -> { ObjectSpace.count_objects.then { |counts| counts[:TOTAL] - counts[:FREE] } }

APPLICATION.list = options[:list].times.inject(nil) { |following, _| ListNode.new(following) }
options[:leaked].times { |number| Shop::Broker.subscribe(Shop::RequestState.new(number)) }

# One large array: element strings of its own.
APPLICATION.tokens = Array.new(options[:objects] / 10) { |number| "token-#{number.to_s(36)}-#{"x" * (number % 40)}" }

APPLICATION.products = []
APPLICATION.users = []
APPLICATION.view_cache = {}
APPLICATION.sessions = Set.new
number = 0
enough = -> { live.call >= options[:objects] && GC.start.nil? && live.call >= options[:objects] }
until enough.call
  500.times do
    user = User.new(number, APPLICATION)
    orders = Array.new(2) { |index| Order.new(number * 2 + index, user) }
    user.association_cache[:orders] = orders
    APPLICATION.users << user
    product = Shop::Product.new(number)
    product.previous = APPLICATION.products.last
    APPLICATION.products << product
    APPLICATION.view_cache["views/orders/#{number}-#{number * 7919}"] =
      "<li class=\"order\" data-id=\"#{number}\">\n\t<a href=\"/orders/#{number}\">Order #{number}</a>\n</li>\n" * 2
    APPLICATION.sessions << "session:#{(number * 2_654_435_761).to_s(16)}"
    number += 1
  end
end
GC.start

# Objects by class, as the process counts them.
classes = [Shop::RequestState, Shop::Line, Shop::Product, User, Order, ListNode, ActiveModel::Attribute]
counts = classes.to_h { |one| [one.name, ObjectSpace.each_object(one).count] }
facts = {
  ruby: RUBY_DESCRIPTION,
  options: options,
  counts: counts,
  subscribers: { size: Shop::Broker.subscribers.size,
                 address: "0x#{ObjectSpace.dump(Shop::Broker.subscribers)[/"address":"0x(\h+)"/, 1]}" },
  users: APPLICATION.users.size,
  list: options[:list],
  more_objects: live.call - (before[:TOTAL] - before[:FREE]),
}
File.open(options[:out], "w", 0o600) { |file| ObjectSpace.dump_all(output: file) }
facts[:dump_bytes] = File.size(options[:out])
File.write("#{options[:out]}.facts.json", "#{JSON.pretty_generate(facts)}\n")
puts JSON.generate(facts)
