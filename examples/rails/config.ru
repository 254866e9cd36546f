# frozen_string_literal: true

# A whole Rails application in one file, with a leak. See README.md.
require "rails"
require "action_controller/railtie"
require_relative "../../ruby/heap_dump" unless ENV["NOTHING_OF_OURS"]

class Shop < Rails::Application
  config.root = __dir__
  config.eager_load = true
  config.consider_all_requests_local = true
  config.secret_key_base = "example"
  config.logger = Logger.new(nil)
  config.hosts.clear
  routes.append do
    get "/orders/:id" => "orders#show"
    get "/numbers" => "orders#numbers"
  end
end

class Order
  attr_reader :id

  def initialize(id)
    @id = id
    @lines = Array.new(20) { |n| "line #{n} of order #{id}" }
  end
end

# The leak: every request subscribes, nobody unsubscribes. The block keeps the controller, and with it request,
# response and order.
class OrdersController < ActionController::Base
  def show
    @order = Order.new(params[:id])
    ActiveSupport::Notifications.subscribe("order.paid") { |*| @order.id }
    render plain: "order #{@order.id}"
  end

  def numbers
    render json: { pid: Process.pid, orders: ObjectSpace.each_object(Order).count }
  end
end

Shop.initialize!
run Shop
