# frozen_string_literal: true

# Dumps the heap of this process as NDJSON: ObjectSpace.dump_all's records, with what it leaves out put back
# (names of references, constants, what procs capture, owners of environments, globals), a header and a trailer.
#
# One file, standard library only, Ruby 2.7 and later. Costs nothing until it is called. See ruby/README.md.
module HeapDump
  VERSION = "0.1.0"
  FORMAT_VERSION = 1

  # A dump that could not be made; the message says why. No file is left behind.
  class Error < StandardError; end

  class << self
    # Writes a dump and returns its path. The heap is dumped in a forked child, so that other threads pause only
    # for the fork; this thread waits for the child.
    #
    # gc: run the collector first (in the child). redact: no string contents, only lengths and keyed hashes.
    # trace: record file:line of allocations from now on. names: false leaves the enrichment out. fork: false
    # dumps in this process (all threads stand still meanwhile). timeout: seconds after which the child gives up.
    def dump(path = "dump.json", gc: true, redact: false, trace: false, names: true, fork: Process.respond_to?(:fork), timeout: 600)
      prepare(redact: redact, trace: trace)
      path = File.expand_path(path)
      options = { gc: gc, redact: redact, names: names }
      return Dumper.new(path, **options).call unless fork

      from_child, to_parent = IO.pipe
      child = fork_dump(path, keep: to_parent, timeout: timeout, **options) do |failure|
        to_parent.write(failure.to_s) if failure
      end
      to_parent.close
      failure = from_child.read
      _, status = wait_for(child)
      raise Error, failure unless failure.empty?
      raise Error, "the dumping child ended early (#{status.inspect})" unless status.nil? || status.success?

      path
    ensure
      [from_child, to_parent].each { |io| io.close unless io.nil? || io.closed? }
    end

    # Dumps whenever the process gets the signal, in a child of lower priority: dir/dump_PID_TIME.json, PID being
    # the process that got the signal (each worker of a preforking server answers for itself). Returns the handler
    # that stood there before.
    def on_signal(signal = "USR2", dir: Dir.pwd, gc: true, redact: false, trace: false, names: true, timeout: 600)
      prepare(redact: redact, trace: trace)
      dir = File.expand_path(dir)
      options = { gc: gc, redact: redact, names: names, timeout: timeout }
      Signal.trap(signal) { dump_in_background(dir, options) }
    end

    # The gem's count: JSON text with total_slots, free_slots, basic_types and user_types. A name counts the class
    # itself and all below its namespace; as in the gem, user_types counts plain objects (T_OBJECT) only.
    def count_objects(names = [], gc = false)
      names = [names] unless names.is_a?(Array)
      names = names.map { |name| name.is_a?(Module) ? Inspect.module_name(name).to_s : name.to_s }
      GC.start if gc
      slots = ObjectSpace.count_objects
      JsonText.pretty(
        (gc ? { "gc_ran" => true } : {}).merge(
          "total_slots" => slots[:TOTAL],
          "free_slots" => slots[:FREE],
          "basic_types" => slots.reject { |type, count| %i[TOTAL FREE].include?(type) || count.zero? }.transform_keys(&:to_s),
          "user_types" => count_user_types(names),
        ),
      )
    end

    # From now on each new object remembers where it was made (slows allocation down, and takes memory for each).
    def trace_allocations
      require "objspace"
      return if @tracing

      ObjectSpace.trace_object_allocations_start
      @tracing = true
    end

    # For the handler of on_signal, and for dumps from outside: forks and returns at once. One dump at a time.
    def dump_in_background(dir, options)
      if @background && @background[0] == Process.pid && @background[1].alive?
        $stderr.write("heap_dump: #{Process.pid} is being dumped already: signal ignored\n")
        return nil
      end
      path = File.join(dir, file_name(Process.pid, Time.now))
      child = fork_dump(path, **options) do |failure|
        $stderr.write("heap_dump: no dump of #{Process.ppid}: #{failure}\n") if failure
      end
      @background = [Process.pid, Process.detach(child)]
      path
    rescue StandardError => e
      $stderr.write("heap_dump: no dump of #{Process.pid}: #{e.message}\n")
      nil
    end

    # dump_PID_TIME.json, the time in UTC to the millisecond.
    def file_name(pid, time)
      "dump_#{pid}_#{time.getutc.strftime("%Y%m%dT%H%M%S%LZ")}.json"
    end

    # The child's pid. The block gets the failure, or nil, in the child.
    def fork_dump(path, keep: nil, timeout: 600, **options, &report)
      process = ProcessFacts.of(Process.pid)
      held = Held.new(Held.threads)
      Process.fork { Child.run(path, process, held, keep, timeout, options, report) }
    end

    private

    def prepare(redact:, trace:)
      require "objspace"
      require "digest" if Redaction.mode(redact)
      trace_allocations if trace
    end

    def wait_for(child)
      Process.wait2(child)
    rescue Errno::ECHILD
      nil # Somebody else in this process waited for any child: what counts is the file.
    end

    def count_user_types(names)
      counts = {}.compare_by_identity
      return {} if names.empty?

      wanted = {}.compare_by_identity
      ObjectSpace.each_object(Class) do |klass|
        name = Inspect.module_name(klass) or next
        wanted[klass] = name if names.any? { |n| name == n || name.start_with?("#{n}:") }
      end
      ObjectSpace.each_object do |object|
        klass = Inspect.class_of(object)
        next unless wanted.key?(klass)

        counts[klass] = (counts[klass] || 0) + 1 if Inspect.plain_object?(object, klass)
      end
      counts.map { |klass, count| [wanted[klass], count] }.sort.to_h
    end
  end

  # Looks at objects without calling any method of theirs.
  module Inspect
    TO_S = Kernel.instance_method(:to_s)
    CLASS = Kernel.instance_method(:class)
    IVARS = Kernel.instance_method(:instance_variables)
    IVAR = Kernel.instance_method(:instance_variable_get)
    MODULE_NAME = Module.instance_method(:name)
    EACH_PAIR = Hash.instance_method(:each_pair)
    HASH_SIZE = Hash.instance_method(:size)

    module_function

    def class_of(object)
      CLASS.bind_call(object)
    end

    def module_name(mod)
      MODULE_NAME.bind_call(mod)
    end

    # `#<Foo:0x00007fa35a10f9a0>`: the address of the slot, as ObjectSpace.dump prints it.
    def address(object)
      TO_S.bind_call(object)[-17, 16].to_i(16)
    end

    # nil for what lives in no slot: small integers, most symbols and floats, nil, true, false.
    def heap_address(value)
      case value
      when nil, true, false then nil
      when Integer then value.bit_length > 62 ? address(value) : nil
      when Symbol, Float then ObjectSpace.dump(value).include?('"address"') ? address(value) : nil
      else address(value)
      end
    end

    # Whether it is a T_OBJECT: known for each class after one look.
    def plain_object?(object, klass = class_of(object))
      @plain ||= {}.compare_by_identity
      @plain.fetch(klass) do
        require "objspace"
        @plain[klass] = ObjectSpace.dump(object).include?('"type":"OBJECT"')
      end
    end
  end

  # As much JSON as is needed here: the host's JSON library may be patched, or not loaded.
  module JsonText
    module_function

    def string(text)
      text = text.encode("UTF-8", invalid: :replace, undef: :replace) unless text.encoding == Encoding::UTF_8
      text = text.scrub unless text.valid_encoding?
      %("#{text.gsub(/["\\\u0000-\u001f]/) { |c| c == '"' || c == "\\" ? "\\#{c}" : format("\\u%04x", c.ord) }}")
    end

    def of(value)
      case value
      when nil, true, false, Integer then value.nil? ? "null" : value.to_s
      when Float then value.finite? ? value.to_s : string(value.to_s)
      when Hash then "{#{value.map { |k, v| "#{string(k.to_s)}:#{of(v)}" }.join(",")}}"
      when Array then "[#{value.map { |v| of(v) }.join(",")}]"
      else string(value.to_s)
      end
    end

    def pretty(value, indent = "")
      return of(value) unless value.is_a?(Hash) && !value.empty?

      inner = "#{indent}    "
      "{\n#{value.map { |k, v| "#{inner}#{string(k.to_s)}: #{pretty(v, inner)}" }.join(",\n")}\n#{indent}}"
    end
  end

  # What only the dumped process itself can say of itself: asked before the fork.
  ProcessFacts = Struct.new(:pid, :command, :program, :started_at, :gc) do
    def self.of(pid)
      new(pid, [$PROGRAM_NAME, *ARGV].join(" "), $PROGRAM_NAME, started_at(pid), GC.stat)
    end

    # nil where there is no /proc.
    def self.started_at(pid)
      ticks = File.read("/proc/#{pid}/stat")[/\)(.*)/m, 1].split[19].to_i
      boot = File.read("/proc/stat")[/^btime (\d+)/, 1].to_i
      Time.at(boot + (ticks / 100.0)) # USER_HZ is 100 on every Linux that Ruby runs on.
    rescue StandardError
      nil
    end
  end

  # What the other threads hold. They do not live on in a forked child: their stacks are gone there, and the child's
  # collector would free what only they reference. Taken before the fork, so that the dump shows it all the same.
  class Held
    # [thread, status, objects it references, its record or nil], of each other thread of this process.
    def self.threads
      (Thread.list - [Thread.current]).map do |thread|
        [thread, thread.status, ObjectSpace.reachable_objects_from(thread), ObjectSpace.dump(thread)]
      end
    end

    # Records and states of the other threads as they were before the fork, by address.
    attr_reader :lines, :statuses

    def initialize(threads)
      @threads = threads
      @lines = {}
      @statuses = {}
      threads.each do |thread, status, _, line|
        address = Inspect.address(thread)
        @statuses[address] = status
        @lines[address] = line if line
      end
    end

    def thread_count
      @threads.size + 1
    end

    # Addresses of what was made to hold things, and is not to be seen in the dump.
    def addresses
      own = [self, @threads, @lines, @statuses, *@threads, *@threads.map { |entry| entry[2] }, *@lines.values]
      addresses = own.map { |object| format("0x%x", Inspect.address(object)) }
      own.clear # Still on the stack, perhaps, when the heap is dumped.
      addresses
    end
  end

  # The forked child: lowers its priority, dumps, and ends without at_exit handlers or finalizers.
  module Child
    # Signals whose handlers belong to the application; in the child they just end it.
    ORDINARY_SIGNALS = %w[INT TERM QUIT HUP].freeze

    module_function

    def run(path, process, held, keep, timeout, options, report)
      finish(keep, timeout, report) do
        Dumper.new(path, process: process, held: held, forked: true, **options).call
      end
    end

    # Runs the block, reports its failure (or nil), and ends the process.
    def finish(keep, timeout, report)
      failure = "ended early"
      step_back(keep)
      # A signal handler may not lock a mutex, a thread started in it may.
      thread = Thread.new do
        yield
        failure = nil
      rescue Exception => e # rubocop:disable Lint/RescueException
        failure = e.is_a?(Error) ? e.message : "#{e.class}: #{e.message}"
      end
      failure = "not done within #{timeout} s" unless thread.join(timeout)
      report.call(failure)
    ensure
      Process.exit!(failure.nil? ? 0 : 1)
    end

    def step_back(keep)
      Process.setpriority(Process::PRIO_PROCESS, 0, 10)
      File.write("/proc/self/oom_score_adj", "1000") # Short of memory, the kernel ends this one, not the server.
    rescue StandardError
      nil
    ensure
      drop_sockets(keep)
    end

    # A connection closed by the server is closed for its client only when the last copy is. Replaced rather than
    # closed: the heap still has IO objects with these numbers, and new files must not get them.
    def drop_sockets(keep)
      Dir.children("/proc/self/fd").map(&:to_i).each do |fd|
        next if fd <= 2 || fd == keep&.fileno

        # With a mode of its own, `reopen` would make the collector close the number again, when a file has it.
        IO.for_fd(fd, "r+", autoclose: false).reopen(File::NULL) if File.readlink("/proc/self/fd/#{fd}").start_with?("socket:")
      rescue SystemCallError, IOError, ArgumentError
        next
      end
    rescue SystemCallError
      nil
    end

    def reset_signals
      ORDINARY_SIGNALS.each { |name| Signal.trap(name, "DEFAULT") }
    rescue ArgumentError
      nil
    end
  end

  # The child of a process that a debugger made fork (src/capture/ruby-attach.ts). `stage` is a folder of the caller.
  module FromOutside
    def self.dump(stage, threads, redact:, timeout:)
      process = ProcessFacts.of(Process.ppid)
      finish(stage, timeout) do
        Dumper.new("#{stage}/result", process: process, held: Held.new(threads), forked: true, redact: redact).call
      end
    end

    def self.count(stage, names, timeout:)
      finish(stage, timeout) { place(stage, "result", "#{HeapDump.count_objects(names)}\n") }
    end

    def self.finish(stage, timeout, &block)
      Child.finish(nil, timeout, ->(failure) { place(stage, "failed", failure) if failure }, &block)
    end

    def self.place(stage, name, text)
      File.open("#{stage}/#{name}.tmp", File::WRONLY | File::CREAT | File::EXCL, 0o600) { |file| file.write(text) }
      File.rename("#{stage}/#{name}.tmp", "#{stage}/#{name}")
    end
  end

  # Writes one dump: the raw records to a nameless file, what is known of each object from walking the heap, then
  # both joined into the dump, which gets its name when it is whole.
  class Dumper
    # Bytes on disk for each live object, raw and enriched: 1.5 times what Rails applications showed.
    DISK_BYTES_PER_OBJECT = 900

    def initialize(path, process: ProcessFacts.of(Process.pid), held: nil, forked: false, gc: true, redact: false, names: true)
      require "objspace"
      require "digest" if Redaction.mode(redact)
      @path = path
      @process = process
      @held = held
      @forked = forked
      @gc = gc
      @names = names
      @redaction = Redaction.mode(redact) && Redaction.new(mode: Redaction.mode(redact))
      @collector_stopped = false
    end

    def call
      check_space
      taken_at = Time.now
      @own = @held ? [format("0x%x", Inspect.address(self)), *@held.addresses] : []
      raw = File.open("#{@path}.#{Process.pid}.raw", File::RDWR | File::CREAT | File::EXCL, 0o600)
      File.unlink(raw.path) # Nobody else can open it, and no crash leaves it.
      dump_raw(raw)
      Child.reset_signals if @forked
      write(raw, taken_at)
      @path
    rescue Errno::ENOSPC
      raise Error, "no space left in #{File.dirname(@path)}"
    rescue SystemCallError => e
      raise Error, e.message
    ensure
      raw&.close
      GC.enable if @collector_stopped
    end

    private

    def dump_raw(raw)
      GC.start if @gc
      # In a process that lives on, an address may be used again while we still look things up by it.
      @collector_stopped = !@forked && GC.disable == false
      GC.auto_compact = false if @forked && GC.respond_to?(:auto_compact=) && GC.auto_compact
      # Ruby before 3.0 writes through buffers of C's, which nothing but closing empties.
      sink = raw.dup
      # They leave out the file they write to, but not the references to it.
      @own << format("0x%x", Inspect.address(sink)) if RUBY_VERSION < "3"
      ObjectSpace.dump_all(output: sink)
      sink.close
    end

    def write(raw, taken_at)
      knowledge = @names ? Knowledge.new(raw, @redaction, @held ? @held.statuses : {}) : nil
      temporary = "#{@path}.#{Process.pid}.tmp"
      File.open(temporary, File::WRONLY | File::CREAT | File::EXCL | File::BINARY, 0o600) do |out|
        header = header_fields(taken_at)
        out << JsonText.of(header) << "\n"
        counts = Records.new(raw, knowledge, @redaction, @held, @own).write_to(out)
        out << JsonText.of(header.merge("counts" => counts)) << "\n"
        out.fsync
      end
      File.rename(temporary, @path)
    rescue Exception # rubocop:disable Lint/RescueException
      File.unlink(temporary) if temporary && File.exist?(temporary)
      raise
    end

    def header_fields(taken_at)
      {
        "type" => "HEADER", "format" => "heapdump-mongo", "format_version" => FORMAT_VERSION,
        "producer" => "heap_dump.rb #{VERSION}", "runtime" => "ruby", "runtime_version" => RUBY_VERSION,
        "pid" => @process.pid, "host" => host, "command" => @redaction&.hides?(@process.command.to_s) ? @process.program : @process.command,
        "taken_at" => iso(taken_at), "process_started_at" => @process.started_at && iso(@process.started_at),
        "gc" => @process.gc, "threads" => @held ? @held.thread_count : Thread.list.size, "redacted" => !@redaction.nil?
      }.compact
    end

    def iso(time)
      time.getutc.strftime("%Y-%m-%dT%H:%M:%S.%LZ")
    end

    def host
      File.read("/proc/sys/kernel/hostname").strip
    rescue SystemCallError
      require "socket"
      Socket.gethostname
    end

    def check_space
      dir = File.dirname(@path)
      raise Error, "no such folder: #{dir}" unless File.directory?(dir)

      free = IO.popen(["df", "-Pk", dir], err: File::NULL, &:read).lines.last.to_s.split[3].to_i * 1024
      need = GC.stat(:heap_live_slots) * DISK_BYTES_PER_OBJECT
      return if free.zero? || free > need # Zero: a df that says something else. Then the write itself will tell.

      raise Error, "#{free / 1_000_000} MB free in #{dir}, up to #{need / 1_000_000} MB needed"
    rescue SystemCallError
      nil # No df here.
    end
  end

  # Replaces contents by keyed hashes: equal strings stay equal, guessing needs the key, which nobody keeps.
  class Redaction
    BLOCK_BYTES = 64

    # What is hidden: :all, :values (what strings say), or the texts that fit a Regexp; nil for nothing.
    def self.mode(redact)
      case redact
      when nil, false then nil
      when true, :all, "all" then :all
      when :values, "values" then :values
      when Regexp then redact
      when %r{\A/(.+)/(i?)\z}m then Regexp.new(Regexp.last_match(1), Regexp.last_match(2) == "i" ? Regexp::IGNORECASE : 0)
      else raise ArgumentError, "redact: expected true, :values or a Regexp"
      end
    end

    def initialize(key = ENV["HEAPDUMP_REDACT_KEY"], mode: :all)
      @mode = mode
      key = Random.urandom(32) if key.nil? || key.empty?
      key = Digest::SHA256.digest(key) if key.bytesize > BLOCK_BYTES
      bytes = key.b.ljust(BLOCK_BYTES, "\0").bytes
      @inner = bytes.map { |byte| byte ^ 0x36 }.pack("C*")
      @outer = bytes.map { |byte| byte ^ 0x5c }.pack("C*")
    end

    # Whether a text of the heap is hidden, as it is or as it stands in JSON.
    def hides?(text)
      return true unless @mode.is_a?(Regexp)

      @mode.match?(text.dup.force_encoding("UTF-8").scrub("?"))
    end

    # Numbers, symbols and other values that are no objects: strings say none of them.
    def hides_value?(value)
      @mode.is_a?(Regexp) ? hides?(value.to_s) : @mode == :all
    end

    # The first 64 bits of HMAC-SHA256.
    def hash(text)
      inner = Digest::SHA256.digest(@inner + text.b)
      "hmac:#{Digest::SHA256.hexdigest(@outer + inner)[0, 16]}"
    end
  end

  # What walking the heap tells of objects, by address. Lists of names are kept once for all objects that share them.
  class Knowledge
    # A Hash with more entries gets no names: they would cost more than they tell.
    HASH_NAMES_MAX = 1_000
    # A key longer than this many characters is cut.
    KEY_LENGTH_MAX = 60

    Names = Struct.new(:count, :json)
    Closure = Struct.new(:file, :line, :label, :is_lambda, :arity, :captures)

    # Names of references in order (Names), or a name for each address (Hash). By the owner's address.
    attr_reader :names
    # Fields to add, as JSON without braces, by address.
    attr_reader :fields
    attr_reader :closures, :environments, :iseqs, :globals

    def initialize(raw, redaction, thread_statuses)
      @redaction = redaction
      @thread_statuses = thread_statuses
      @shared = {}
      @names = {}
      @fields = {}
      @closures = {}
      @environments = {} # address => address of its iseq
      @iseqs = {} # address => true, or [file, line, label] once known
      read_internals(raw)
      without_warnings do
        walk
        find_owners
        @globals = global_names
      end
      link_closures(raw)
    end

    # The owner of an environment: where the variables live that a closure keeps.
    def environment_fields(address)
      owner = @iseqs[@environments[address]]
      closure = @closure_of && @closure_of[address]
      file, line, label = owner if owner.is_a?(Array)
      file ||= closure&.file
      line ||= closure&.line
      label ||= closure&.label&.sub(/\Ablock (\(\d+ levels\) )?in /, "")
      return nil if file.nil?

      { "file" => file, "line" => line, "label" => label, "method" => label&.sub(/\A.* in /, ""),
        "iseq" => hex(@environments[address]) }.compact
    end

    # Names of the variables in an environment, by the address of their value.
    def environment_names(address)
      captures = @captures_of && @captures_of[address]
      captures ? captures.each_with_object({}) { |(name, value), by| by[value.hex] = name if value.is_a?(String) && value.start_with?("0x") } : {}
    end

    # A value as the dump shows it: the address of an object, or the immediate itself.
    def shown(value)
      address = Inspect.heap_address(value)
      return hex(address) if address
      return value if value.nil? || value == true || value == false
      return "(#{Inspect.class_of(value)})" if @redaction&.hides_value?(value)

      value.is_a?(Symbol) ? ":#{value}" : value
    end

    private

    def hex(address)
      format("0x%x", address)
    end

    # Environments and instruction sequences are no Ruby objects: the raw records are all there is.
    def read_internals(raw)
      raw.rewind
      raw.each_line do |line|
        next unless line.include?('"type":"IMEMO"')

        if line.include?('"imemo_type":"iseq"')
          @iseqs[line[/"address":"0x(\h+)"/, 1].hex] = true
        elsif line.include?('"imemo_type":"env"')
          # The word that dump_all takes for the class is the environment's iseq.
          @environments[line[/"address":"0x(\h+)"/, 1].hex] = (line[/"class":"0x(\h+)"/, 1] || line[/"references":\[(?:.*"0x)?(\h+)"\]/, 1] || "0").hex
        end
      end
    end

    def walk
      # Listed first: what is made on the way would be walked too, without end where the collector is off.
      objects = []
      ObjectSpace.each_object { |object| objects << object }
      objects.each do |object|
        case object
        when String, Array then next
        when Module then know_module(object)
        when Proc then know_proc(object)
        when Hash then know_hash(object)
        when Struct then keep_list(object, object.class.members.map { |m| [m, object[m]] })
        when Thread then know_thread(object)
        when Regexp, Numeric, Symbol, IO then next
        else know_instance_variables(object)
        end
      rescue StandardError, NotImplementedError
        next # One odd object (an uninitialized Struct, say) costs its own names only.
      end
    end

    def know_instance_variables(object)
      klass = Inspect.class_of(object)
      pairs = Inspect::IVARS.bind_call(object).map { |name| [name, Inspect::IVAR.bind_call(object, name)] }
      return if pairs.empty?

      # The class is never among the references.
      Inspect.plain_object?(object, klass) ? keep_list(object, pairs.reject { |_, v| klass.equal?(v) }) : keep_addresses(object, pairs)
    end

    def know_module(mod)
      pairs = constants_of(mod) + class_variables_of(mod)
      ivars = Inspect::IVARS.bind_call(mod).map { |name| [name, Inspect::IVAR.bind_call(mod, name)] }
      keep_addresses(mod, pairs + ivars)
      shown_pairs = { "constants" => constants_of(mod), "class_variables" => class_variables_of(mod), "ivs" => ivars }
      shown_pairs.reject! { |_, list| list.empty? }
      return if shown_pairs.empty?

      @fields[Inspect.address(mod)] = shown_pairs.map { |field, list| "#{JsonText.string(field)}:#{JsonText.of(list.to_h { |k, v| [k, shown(v)] })}" }.join(", ")
    end

    CONSTANTS = Module.instance_method(:constants)
    CONST_GET = Module.instance_method(:const_get)
    AUTOLOAD = Module.instance_method(:autoload?)
    CLASS_VARIABLES = Module.instance_method(:class_variables)
    CLASS_VARIABLE_GET = Module.instance_method(:class_variable_get)

    # Private constants are not listed by Ruby. What would be loaded only when asked for is left alone.
    def constants_of(mod)
      CONSTANTS.bind_call(mod, false).filter_map do |name|
        [name, CONST_GET.bind_call(mod, name, false)] unless AUTOLOAD.bind_call(mod, name, false)
      rescue StandardError, LoadError
        nil
      end
    end

    def class_variables_of(mod)
      CLASS_VARIABLES.bind_call(mod, false).filter_map do |name|
        [name, CLASS_VARIABLE_GET.bind_call(mod, name)]
      rescue StandardError
        nil
      end
    end

    def know_hash(hash)
      return if Inspect::HASH_SIZE.bind_call(hash) > HASH_NAMES_MAX

      pairs = []
      Inspect::EACH_PAIR.bind_call(hash) do |key, value|
        pairs << ["(key)", key] << [key_name(key), value]
      end
      pairs << ["(default)", hash.default_proc || hash.default] if hash.default_proc || hash.default
      keep_list(hash, pairs.reject { |_, v| Hash.equal?(v) }, interned: false)
    end

    def key_name(key)
      case key
      when Symbol then "[:#{key}]"
      when String then @redaction&.hides?(key) ? "[#{@redaction.hash(key)}]" : "[#{key[0, KEY_LENGTH_MAX].inspect}]"
      when Integer then @redaction&.hides_value?(key) ? "[Integer]" : "[#{key}]"
      when Module then "[#{Inspect.module_name(key)}]"
      else "[#{Inspect.module_name(Inspect.class_of(key))}]"
      end
    end

    def know_thread(thread)
      pairs = thread.keys.map { |key| [key, thread[key]] } +
              thread.thread_variables.map { |key| [key, thread.thread_variable_get(key)] }
      keep_addresses(thread, pairs)
      address = Inspect.address(thread)
      status = @thread_statuses.fetch(address) { thread.status } || "dead"
      thread_fields = { "name" => thread.name, "status" => status, "main" => thread == Thread.main }.compact
      @fields[address] = %("thread":#{JsonText.of(thread_fields)})
    end

    def know_proc(proc)
      file, line = proc.source_location
      iseq = RubyVM::InstructionSequence.of(proc)
      know_iseq(iseq) if iseq
      @closures[Inspect.address(proc)] = Closure.new(file, line, iseq&.label, proc.lambda?, proc.arity, captures_of(proc))
    end

    def captures_of(proc)
      binding = proc.binding
      binding.local_variables.to_h { |name| [name.to_s, shown(binding.local_variable_get(name))] }
    rescue ArgumentError
      {} # Made in C, of a method or a symbol: there is no binding.
    end

    # `[:a, 1]` pairs in the order in which the collector marks them: names those that are objects.
    def keep_list(object, pairs, interned: true)
      list = pairs.select { |_, value| Inspect.heap_address(value) }.map { |name, _| name.to_s }
      return if list.empty?

      json = "[#{list.map { |name| JsonText.string(name) }.join(",")}]"
      entry = interned || list.size < 20 ? (@shared[json] ||= Names.new(list.size, json)) : Names.new(list.size, json)
      @names[Inspect.address(object)] = entry
    end

    def keep_addresses(object, pairs)
      by_address = {}
      pairs.each do |name, value|
        address = Inspect.heap_address(value)
        by_address[address] ||= name.to_s if address
      end
      @names[Inspect.address(object)] = by_address unless by_address.empty?
    end

    # An iseq's wrapper references the iseq itself, the owner of environments.
    def know_iseq(iseq)
      address = ObjectSpace.dump(iseq)[/"references":\["0x(\h+)"/, 1]&.hex
      return unless address && @iseqs[address] == true

      @iseqs[address] = [iseq.path, iseq.first_lineno, iseq.label]
    end

    # Owners of environments are method bodies and blocks in them. Ruby lists no iseqs, but methods; the bodies of
    # scripts and classes cannot be found this way, their environments are then named by their closures.
    def find_owners
      wanted = @environments.values.uniq.select { |address| @iseqs[address] == true }
      return if wanted.empty?

      ObjectSpace.each_object(Module) do |mod|
        names = mod.instance_methods(false) + mod.private_instance_methods(false)
        names.each do |name|
          iseq = RubyVM::InstructionSequence.of(mod.instance_method(name)) or next
          know_tree(iseq, wanted)
        rescue StandardError
          next
        end
        break if wanted.all? { |address| @iseqs[address].is_a?(Array) }
      rescue StandardError
        next
      end
    end

    def know_tree(iseq, wanted)
      know_iseq(iseq)
      iseq.each_child { |child| know_tree(child, wanted) } if iseq.respond_to?(:each_child)
    end

    # Which closure keeps which environment: a proc references its own, that one the next outer one.
    def link_closures(raw)
      @closure_of = {}
      @captures_of = {}
      outer = {}
      raw.rewind
      raw.each_line do |line|
        is_proc = line.include?('"struct":"proc"')
        next unless is_proc || line.include?('"imemo_type":"env"')

        address = line[/"address":"0x(\h+)"/, 1].hex
        references = line[/"references":\[([^\]]*)\]/, 1].to_s.scan(/0x(\h+)/).map { |(text)| text.hex }
        environment = references.find { |reference| reference != address && @environments.key?(reference) }
        if is_proc
          closure = @closures[address]
          next if closure.nil? || environment.nil?

          @closure_of[environment] ||= closure
          (@captures_of[environment] ||= {}).merge!(closure.captures)
        elsif environment
          outer[address] = environment
        end
      end
      outer.each { |inner, environment| @captures_of[environment] = (@captures_of[environment] || {}).merge(@captures_of[inner] || {}) }
      outer.each { |inner, environment| @closure_of[environment] ||= @closure_of[inner] if @closure_of[inner] }
    end

    def global_names
      global_variables.each_with_object({}) do |name, by_address|
        next unless name.match?(/\A\$[A-Za-z_]\w*\z/)

        value = eval(name.to_s) # rubocop:disable Security/Eval, Style/EvalWithLocation
        address = Inspect.heap_address(value)
        by_address[address] ||= name.to_s if address
      rescue StandardError
        next
      end
    end

    def without_warnings
      verbose = $VERBOSE
      $VERBOSE = nil
      yield
    ensure
      $VERBOSE = verbose
    end
  end

  # Joins the raw records with what is known of each, one line at a time.
  class Records
    ADDRESS = /\A\{"address":"0x(\h+)", ?"type":"(\w+)"/.freeze
    REFERENCES = /"references":\[([^\]]*)\]/.freeze
    # Types of objects that may hold what was made for dumping: up to 2.7 options come in a Hash.
    OWN_HOLDERS = RUBY_VERSION < "3" ? %w[DATA IMEMO HASH].freeze : %w[DATA IMEMO].freeze
    # No unescaped quote stands inside a JSON string, so this matches the field and nothing else.
    ESCAPES = { "n" => "\n", "t" => "\t", "r" => "\r", "b" => "\b", "f" => "\f" }.freeze
    VALUE = /"value":"((?:[^"\\]|\\.)*)"/.freeze

    def initialize(raw, knowledge, redaction, held, own)
      @raw = raw
      @knowledge = knowledge
      @redaction = redaction
      @threads = held ? held.lines : {}
      @own = own.to_h { |address| [address, true] }
      @own_pattern = own.empty? ? nil : Regexp.union(own.map { |address| %("#{address}") })
    end

    def write_to(out)
      objects = 0
      roots = 0
      @raw.rewind
      @raw.each_line do |line|
        line.chomp!
        if line.start_with?('{"type":"ROOT"')
          roots += 1
          out << root(line) << "\n"
        elsif (line = record(line))
          objects += 1
          out << line << "\n"
        end
      end
      unless @threads.empty?
        roots += 1
        out << %({"type":"ROOT", "root":"threads", "references":[#{@threads.keys.map { |a| %("0x#{a.to_s(16)}") }.join(", ")}]}) << "\n"
      end
      { "objects" => objects, "roots" => roots }
    end

    private

    def root(line)
      line = without_own(line)
      return line unless @knowledge && line.include?('"root":"global_')

      with_names(line) { |address| @knowledge.globals[address] }
    end

    # nil: an object of ours, not the application's.
    def record(line)
      line =~ ADDRESS or return line
      hex = Regexp.last_match(1)
      type = Regexp.last_match(2)
      return nil if @own.key?("0x#{hex}") || line.include?('"struct":"ObjectSpace/internal_object_wrapper"')

      address = hex.hex
      line = @threads[address].chomp if @threads.key?(address)
      line = without_own(line) if OWN_HOLDERS.include?(type)
      line = redacted(line) if @redaction
      @knowledge ? enriched(line, address, type) : line
    end

    def without_own(line)
      return line unless @own_pattern && line.match?(@own_pattern)

      line.sub(REFERENCES) { %("references":[#{Regexp.last_match(1).split(", ").reject { |r| r.match?(@own_pattern) }.join(", ")}]) }
    end

    def redacted(line)
      line.sub(VALUE) do
        whole, text = Regexp.last_match.to_a
        next whole unless @redaction.hides?(unescaped(text))

        length = line[/"bytesize":(\d+)/, 1] || text.bytesize
        %("redacted":"#{@redaction.hash(text)}", "value_length":#{length})
      end
    end

    # The text that stands in JSON: for a pattern that looks for a quote or a letter beyond ASCII.
    def unescaped(text)
      return text unless text.include?("\\")

      text.gsub(/\\(?:u(\h{4})|(.))/) { Regexp.last_match(1) ? [Regexp.last_match(1).hex].pack("U") : ESCAPES.fetch(Regexp.last_match(2), Regexp.last_match(2)) }
    rescue RangeError, EncodingError
      text
    end

    def enriched(line, address, type)
      case type
      when "DATA" then line = closure(line, address) if line.include?('"struct":"proc"')
      when "IMEMO" then return line.include?('"imemo_type":"env"') ? environment(line, address) : line
      end
      line = named(line, @knowledge.names[address])
      fields = @knowledge.fields[address]
      fields ? with_fields(line, fields) : line
    end

    def named(line, names)
      case names
      when Hash then with_names(line) { |reference| names[reference] }
      when Knowledge::Names
        line.sub(REFERENCES) do |list|
          # As many names as references, or the object changed since: then none.
          list.count(",") + 1 == names.count && list.length > 16 ? "#{list}, \"reference_names\":#{names.json}" : list
        end
      else line
      end
    end

    def closure(line, address)
      closure = @knowledge.closures[address] or return line
      line = with_names(line) do |reference|
        if @knowledge.environments.key?(reference) then "(environment)"
        elsif @knowledge.iseqs.key?(reference) then "(iseq)"
        else "(self)"
        end
      end
      proc = { "file" => closure.file, "line" => closure.line, "label" => closure.label, "lambda" => closure.is_lambda, "arity" => closure.arity }.compact
      with_fields(line, %("proc":#{JsonText.of(proc)}, "captures":#{JsonText.of(closure.captures)}))
    end

    def environment(line, address)
      iseq = @knowledge.environments[address]
      if iseq && @knowledge.iseqs.key?(iseq)
        # dump_all leaves the iseq out, taking it for the class, and lists the environment itself.
        line = line.sub(/ "class":"0x\h+",/, "")
        line = line.sub(REFERENCES) do
          own = %("0x#{address.to_s(16)}")
          list = Regexp.last_match(1).split(", ").reject { |r| r == own }
          %("references":[#{(list | [%("0x#{iseq.to_s(16)}")]).join(", ")}])
        end
      end
      names = @knowledge.environment_names(address)
      line = with_names(line) do |reference|
        if reference == iseq then "(iseq)"
        elsif @knowledge.environments.key?(reference) then "(outer environment)"
        else names[reference]
        end
      end
      owner = @knowledge.environment_fields(address)
      owner ? with_fields(line, %("env_of":#{JsonText.of(owner)})) : line
    end

    # reference_names from a block that gives the name of an address, or nil.
    def with_names(line)
      line.sub(REFERENCES) do |list|
        names = list.scan(/0x(\h+)/).map { |(text)| yield(text.hex) || "" }
        names.all?(&:empty?) ? list : "#{list}, \"reference_names\":[#{names.map { |n| JsonText.string(n) }.join(",")}]"
      end
    end

    def with_fields(line, fields)
      "#{line.delete_suffix("}")}, #{fields}}"
    end
  end
end
