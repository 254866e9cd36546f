# frozen_string_literal: true

Gem::Specification.new do |spec|
  spec.name = "heap_dump-mongo"
  # Read, not required: building the gem must not load it.
  spec.version = File.read(File.join(__dir__, "heap_dump.rb"))[/VERSION = "([^"]+)"/, 1]
  spec.summary = "Dumps the heap of a running Ruby for heapdump-import"
  spec.description = "ObjectSpace.dump_all with names of references, constants, captures of procs, owners of " \
                     "environments, globals, a header and a trailer. On a signal, in a forked child."
  spec.authors = ["the heapdump-mongo authors"]
  spec.license = "MIT"
  spec.required_ruby_version = ">= 2.7"
  spec.files = ["heap_dump.rb", "README.md"]
  spec.require_paths = ["."]
  # No homepage: the project has no public address yet, and `gem build --strict` will not pass before it has.
  spec.metadata = { "rubygems_mfa_required" => "true" }
end
