# frozen_string_literal: true

# ruby ruby/test/heap_dump_test.rb
require "minitest/autorun"
require "json"
require "objspace"
require "rbconfig"
require "socket"
require "time"
require "tmpdir"
require_relative "../heap_dump"

module Planted
  LIMIT = 7
  LIST = [+"planted element"]
  @settings = +"planted setting"
  @@registry = +"planted class variable"

  class Session
    def initialize(user)
      @count = 3
      @user = user
      @ratio = 0.5
      @tag = +"tag"
    end

    def later
      kept = +"kept by the closure"
      number = 5
      ->(x) { [kept, number, x] }
    end

    def nested
      outer = +"outer"
      [1].map do
        inner = +"inner"
        proc { [outer, inner] }
      end.first
    end
  end

  Pair = Struct.new(:left, :right)
end

class HeapDumpTest < Minitest::Test
  PRODUCER = File.expand_path("../heap_dump.rb", __dir__)
  USER = +"planted user"
  SESSION = Planted::Session.new(USER)
  LAMBDA = SESSION.later
  NESTED = SESSION.nested
  PAIR = Planted::Pair.new(+"the left", 1)
  HASH = { :symbol => +"by symbol", "text" => +"by text", 12 => +"by number", 13 => 1 }
  $planted_global = +"planted global"

  def setup
    @dir = Dir.mktmpdir
  end

  # A parsed dump that stays reachable is in the next dump, ten objects for each: what was 0.6 s became minutes.
  def teardown
    [@lines, @objects].each { |parsed| parsed&.clear }
    @lines = @objects = nil
    FileUtils.remove_entry(@dir)
  end

  def test_header_and_trailer_frame_the_dump
    lines = dump_lines
    header = lines.first
    assert_equal %w[HEADER heapdump-mongo ruby], header.values_at("type", "format", "runtime")
    assert_equal [1, RUBY_VERSION, Process.pid, false], header.values_at("format_version", "runtime_version", "pid", "redacted")
    assert_in_delta Time.now.to_f, Time.iso8601(header["taken_at"]).to_f, 30
    assert_operator Time.iso8601(header["process_started_at"]), :<, Time.iso8601(header["taken_at"])
    counts = lines.last.fetch("counts")
    assert_equal header, lines.last.reject { |key, _| key == "counts" }
    assert_equal lines[1..-2].count { |line| line["type"] == "ROOT" }, counts["roots"]
    assert_equal lines[1..-2].count { |line| line["type"] != "ROOT" }, counts["objects"]
  end

  def test_file_is_private_and_alone
    path = HeapDump.dump(File.join(@dir, "d.json"))
    assert_equal 0o600, File.stat(path).mode & 0o777
    assert_equal ["d.json"], Dir.children(@dir)
  end

  def test_names_instance_variables
    session = record(SESSION)
    assert_equal({ address(USER) => "@user", address(SESSION.instance_variable_get(:@tag)) => "@tag" }, names_of(session))
  end

  def test_every_list_of_names_is_as_long_as_its_references
    named = objects.values.select { |object| object["reference_names"] }
    assert_operator named.size, :>, 100
    named.each { |object| assert_equal object["references"].size, object["reference_names"].size, object.inspect }
  end

  # The names rest on the order in which the collector marks: checked against the addresses themselves.
  def test_names_of_all_plain_objects_agree_with_their_addresses
    checked = 0
    all = objects
    ObjectSpace.each_object(Object) do |object|
      line = all[address(object)] or next
      next unless line["type"] == "OBJECT" && line["reference_names"]

      line["references"].zip(line["reference_names"]) do |reference, name|
        value = Kernel.instance_method(:instance_variable_get).bind_call(object, name)
        assert_equal reference, address(value), "#{line} #{name}" if all.key?(address(value)) && !object.frozen?.nil? && stable?(object)
        checked += 1
      end
    end
    assert_operator checked, :>, 50
  end

  def test_constants_class_variables_and_class_level_instance_variables
    planted = record(Planted)
    assert_equal 7, planted["constants"]["LIMIT"]
    assert_equal address(Planted::LIST), planted["constants"]["LIST"]
    assert_equal address(Planted::Session), planted["constants"]["Session"]
    assert_equal address(Planted.class_variable_get(:@@registry)), planted["class_variables"]["@@registry"]
    names = names_of(planted)
    assert_equal "LIST", names[address(Planted::LIST)]
    assert_equal "@@registry", names[address(Planted.class_variable_get(:@@registry))]
    assert_equal "@settings", names[address(Planted.instance_variable_get(:@settings))]
  end

  def test_hash_keys_and_struct_members
    names = names_of(record(HASH))
    assert_equal ["[:symbol]", '["text"]', "[12]"], [:symbol, "text", 12].map { |key| names[address(HASH[key])] }
    assert_equal({ address(PAIR.left) => "left" }, names_of(record(PAIR)))
  end

  def test_closure_tells_where_it_was_made_and_what_it_captures
    line = LAMBDA.source_location.last
    closure = record(LAMBDA)
    assert_equal({ "file" => __FILE__, "line" => line, "label" => "block in later", "lambda" => true, "arity" => 1 }, closure["proc"])
    kept = LAMBDA.binding.local_variable_get(:kept)
    assert_equal({ "kept" => address(kept), "number" => 5 }, closure["captures"])
    assert_equal address(SESSION), names_of(closure).key("(self)")
  end

  def test_environment_tells_its_owner_both_ways
    environment = objects[names_of(record(LAMBDA)).key("(environment)")]
    assert_equal "env", environment["imemo_type"]
    owner = environment["env_of"]
    assert_equal [__FILE__, "later", Planted::Session.instance_method(:later).source_location.last], owner.values_at("file", "method", "line")
    assert_equal "(iseq)", names_of(environment)[owner["iseq"]]
    assert_equal "kept", names_of(environment)[address(LAMBDA.binding.local_variable_get(:kept))]
  end

  def test_nested_environment_references_the_outer_one
    inner = objects[names_of(record(NESTED)).key("(environment)")]
    outer = objects[names_of(inner).key("(outer environment)")]
    assert_equal ["block in nested", "nested"], [inner, outer].map { |environment| environment["env_of"]["label"] }
    assert_equal %w[inner outer], record(NESTED)["captures"].keys.sort
  end

  def test_global_variables_are_named_at_their_root
    root = dump_lines.find { |line| line["root"] == "global_tbl" }
    assert_equal "$planted_global", root["references"].zip(root["reference_names"]).to_h[address($planted_global)]
  end

  def test_other_threads_are_dumped_as_they_were
    ready = Queue.new
    thread = Thread.new do
      local = +"only on the stack"
      Thread.current[:cache] = +"only in a thread local"
      ready << [address(local), address(Thread.current[:cache])]
      sleep
      local
    end
    thread.name = "worker 7"
    on_stack, in_local = ready.pop
    all = objects
    line = all[address(thread)]
    assert_equal({ "name" => "worker 7", "status" => "sleep", "main" => false }, line["thread"])
    assert_equal ["only on the stack", "only in a thread local"], [on_stack, in_local].map { |a| all.fetch(a)["value"] }
    assert_includes line["references"], on_stack
    assert_includes line["references"], in_local
    assert(dump_lines.any? { |root| root["root"] == "threads" && root["references"].include?(address(thread)) })
  ensure
    thread&.kill
  end

  # What is missing can only be what the child itself dropped.
  def test_every_reference_is_in_the_dump
    known = objects
    dangling = @lines.flat_map { |line| line["references"] || [] }.uniq.reject { |reference| known.key?(reference) }
    assert_empty dangling, @lines.select { |line| line["references"].to_a.include?(dangling.first) }.map { |line| line.to_s[0, 600] }
  end

  def test_redacted_dump_holds_no_contents_but_shows_equality
    secret = +"card 4111-1111"
    same = "card #{4111}-1111"
    keyed = { "card 4111-1111 as key" => Object.new }
    path = HeapDump.dump(File.join(@dir, "r.json"), redact: true)
    text = File.read(path)
    refute text.include?("4111-1111"), "contents in the redacted dump"
    all = index(text.lines.map { |line| JSON.parse(line) })
    assert_empty all.values.select { |line| line.key?("value") }
    first, second = [secret, same].map { |string| all.fetch(address(string)) }
    assert_match(/\Ahmac:\h{16}\z/, first["redacted"])
    assert_equal first.values_at("redacted", "value_length"), second.values_at("redacted", "value_length")
    assert_equal secret.bytesize, first["value_length"]
    assert_match(/\A\[hmac:/, names_of(all.fetch(address(keyed)))[address(keyed.values[0])])
  end

  def test_redacts_values_only_or_what_fits_a_pattern
    # Made at run time: a literal's bytes are another string's.
    held = { "card 4111-1111" => "card #{4111}-1111", "quoted" => "in #{1} \"x\"", 4111 => :plain }
    [:values, "values", /4111/, "/CARD/i", /1 "x/].each do |mode|
      path = HeapDump.dump(File.join(@dir, "mode.json"), redact: mode)
      all = index(File.readlines(path).map { |line| JSON.parse(line) })
      card, quoted = held.values.first(2).map { |string| all.fetch(address(string)) }
      hidden = [card, quoted].map { |line| line.key?("redacted") }
      assert_equal mode.to_s == "values" ? [true, true] : mode.to_s.match?(/4111|CARD/) ? [true, false] : [false, true], hidden, mode.inspect
      assert_equal "card 4111-1111", card["value"] unless hidden[0]
      refute File.read(path).include?("card 4111-1111"), mode.inspect if hidden[0]
    end
    assert_raises(ArgumentError) { HeapDump.dump(File.join(@dir, "mode.json"), redact: "cards") }
  end

  # Computed by hand in another implementation: openssl.
  def test_redaction_is_hmac_sha256
    require "openssl"
    ["key", "k" * 100].each do |key|
      expected = OpenSSL::HMAC.hexdigest("SHA256", key, "text")[0, 16]
      assert_equal "hmac:#{expected}", HeapDump::Redaction.new(key).hash("text")
    end
  end

  def test_in_process_dump_holds_the_same_objects
    path = HeapDump.dump(File.join(@dir, "p.json"), fork: false)
    all = index(File.readlines(path).map { |line| JSON.parse(line) })
    assert_equal "@user", names_of(all.fetch(address(SESSION)))[address(USER)]
    refute GC.disable, "the collector must be on again"
  ensure
    GC.enable
  end

  def test_counts_as_the_gem
    counts = JSON.parse(HeapDump.count_objects([Planted, "Minitest::Unknown"]))
    assert_equal %w[total_slots free_slots basic_types user_types], counts.keys
    assert_equal({ "Planted::Session" => ObjectSpace.each_object(Planted::Session).count }, counts["user_types"])
    assert_equal counts["total_slots"], counts["free_slots"] + counts["basic_types"].values.sum
    assert JSON.parse(HeapDump.count_objects("Planted::Session", true))["gc_ran"]
  end

  def test_refuses_a_folder_that_is_not_there_and_leaves_nothing
    error = assert_raises(HeapDump::Error) { HeapDump.dump(File.join(@dir, "missing", "d.json")) }
    assert_match(/no such folder/, error.message)
    assert_empty Dir.children(@dir)
  end

  def test_gives_up_in_time
    error = assert_raises(HeapDump::Error) { HeapDump.dump(File.join(@dir, "d.json"), timeout: 0.001) }
    assert_match(/not done within/, error.message)
    refute_path_exists File.join(@dir, "d.json")
  end

  # A number that the collector closes behind our back is soon that of the dump.
  def test_the_child_keeps_the_numbers_of_sockets_taken
    sockets = Array.new(20) { UNIXSocket.pair }.flatten
    pid = fork do
      HeapDump::Child.drop_sockets(nil)
      3.times { GC.start }
      Process.exit!(sockets.all? { |one| File.readlink("/proc/self/fd/#{one.fileno}") == File::NULL } ? 0 : 1)
    rescue SystemCallError
      Process.exit!(2)
    end
    assert_equal 0, Process.wait2(pid).last.exitstatus
  ensure
    sockets&.each(&:close)
  end

  def test_traces_allocations_when_asked
    from_now_on = ["HeapDump.trace_allocations", "HeapDump.dump(ARGV[0], trace: true)", 'HeapDump.on_signal("USR2", trace: true)']
    from_now_on.each do |start|
      script = %(#{start}; S = "traced" + "x"; HeapDump.dump(ARGV[0]))
      path = File.join(@dir, "t.json")
      assert system(RbConfig.ruby, "-r", PRODUCER, "-e", script, path)
      traced = File.readlines(path).map { |line| JSON.parse(line) }.find { |line| line["value"] == "tracedx" }
      assert_equal ["-e", 1], traced.values_at("file", "line"), start
    end
  end

  # The handler runs where no mutex may be locked; at_exit must not run in the child.
  def test_signal_dumps_in_the_background
    script = <<~RUBY
      at_exit { File.write(File.join(ARGV[0], "exits"), "x", mode: "a") }
      HeapDump.on_signal("USR2", dir: ARGV[0])
      Thread.new { loop { "busy" * 10 } }
      puts "ready"
      $stdout.flush
      $stdin.gets
    RUBY
    process = IO.popen([RbConfig.ruby, "-r", PRODUCER, "-e", script, @dir], "r+", err: File::NULL)
    assert_equal "ready\n", process.gets
    pid = process.pid
    2.times do |round|
      # A signal during a dump is ignored, so it is repeated.
      wait_until { Process.kill("USR2", process.pid) && sleep(0.2) && Dir.glob("#{@dir}/dump_#{process.pid}_*Z.json").size > round }
    end
    process.puts
    process.close
    assert_equal "x", File.read(File.join(@dir, "exits"))
    dump = File.readlines(Dir.glob("#{@dir}/dump_*.json").first)
    assert_equal [pid, 2], JSON.parse(dump.last).values_at("pid", "threads")
  end

  private

  def wait_until(seconds = 20)
    deadline = Time.now + seconds
    until yield
      flunk "not within #{seconds} s" if Time.now > deadline
      sleep 0.02
    end
  end

  def dump_lines
    @lines ||= File.readlines(HeapDump.dump(File.join(@dir, "d.json"))).map { |line| JSON.parse(line) }
  end

  def index(lines)
    lines.each_with_object({}) { |line, by| by[line["address"]] = line if line["address"] }
  end

  def objects
    @objects ||= index(dump_lines)
  end

  def record(object)
    objects.fetch(address(object))
  end

  # Objects of the test run itself change while we compare.
  def stable?(object)
    object.class.name.to_s.match?(/\A(Planted|Gem)/)
  end

  # From ObjectSpace.dump, not from the code under test.
  def address(object)
    ObjectSpace.dump(object)[/"address":"(0x\h+)"/, 1]
  end

  def names_of(line)
    (line["references"] || []).zip(line["reference_names"] || []).reject { |_, name| name.nil? || name.empty? }.to_h
  end
end
